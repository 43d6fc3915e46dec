"""The Docker Engine API's structures for creating a container, in the API's JSON names."""

from __future__ import annotations

from typing import Final

from moorage.config.reading.structs import Table

_RESOURCES: Final = (
    "CpuShares:i Memory:i NanoCpus:i CgroupParent:s BlkioWeight:i BlkioWeightDevice:[WeightDevice] "
    "BlkioDeviceReadBps:[ThrottleDevice] BlkioDeviceWriteBps:[ThrottleDevice] BlkioDeviceReadIOps:[ThrottleDevice] "
    "BlkioDeviceWriteIOps:[ThrottleDevice] CpuPeriod:i CpuQuota:i CpuRealtimePeriod:i CpuRealtimeRuntime:i "
    "CpusetCpus:s CpusetMems:s Devices:[Device] DeviceCgroupRules:[s] DeviceRequests:[DeviceRequest] KernelMemory:i "
    "KernelMemoryTCP:i MemoryReservation:i MemorySwap:i MemorySwappiness:?i OomKillDisable:?b PidsLimit:?i "
    "Ulimits:[Ulimit] CpuCount:i CpuPercent:i IOMaximumIOps:i IOMaximumBandwidth:i"
)

TABLE: Final = Table(
    structs={
        "Container": (
            "Hostname:s Domainname:s User:s AttachStdin:b AttachStdout:b AttachStderr:b ExposedPorts:{x} Tty:b "
            "OpenStdin:b StdinOnce:b Env:[s] Cmd:S Healthcheck:?Healthcheck ArgsEscaped:b Image:s Volumes:{x} "
            "WorkingDir:s Entrypoint:S NetworkDisabled:b MacAddress:s OnBuild:[s] Labels:{s} StopSignal:s "
            "StopTimeout:?i Shell:S"
        ),
        "Healthcheck": "Test:[s] Interval:d Timeout:d StartPeriod:d StartInterval:d Retries:i",
        "Host": (
            "Binds:[s] ContainerIDFile:s LogConfig:LogConfig NetworkMode:s PortBindings:{[PortBinding]} "
            "RestartPolicy:RestartPolicy AutoRemove:b VolumeDriver:s VolumesFrom:[s] ConsoleSize:[i] Annotations:{s} "
            "CapAdd:S CapDrop:S CgroupnsMode:s Dns:[s] DnsOptions:[s] DnsSearch:[s] ExtraHosts:[s] GroupAdd:[s] "
            "IpcMode:s Cgroup:s Links:[s] OomScoreAdj:i PidMode:s Privileged:b PublishAllPorts:b ReadonlyRootfs:b "
            "SecurityOpt:[s] StorageOpt:{s} Tmpfs:{s} UTSMode:s UsernsMode:s ShmSize:i Sysctls:{s} Runtime:s "
            "Isolation:s Mounts:[Mount] MaskedPaths:?[s] ReadonlyPaths:?[s] Init:?b " + _RESOURCES
        ),
        "Resources": _RESOURCES,
        "LogConfig": "Type:s Config:{s}",
        "PortBinding": "HostIp:s HostPort:s",
        "RestartPolicy": "Name:s MaximumRetryCount:i",
        "WeightDevice": "Path:s Weight:i",
        "ThrottleDevice": "Path:s Rate:i",
        "Device": "PathOnHost:s PathInContainer:s CgroupPermissions:s",
        "DeviceRequest": "Driver:s Count:i DeviceIDs:[s] Capabilities:[[s]] Options:{s}",
        "Ulimit": "Name:s Hard:i Soft:i",
        "Mount": (
            "Type:s Source:s Target:s ReadOnly:b Consistency:s BindOptions:?BindOptions VolumeOptions:?VolumeOptions "
            "ImageOptions:?ImageOptions TmpfsOptions:?TmpfsOptions ClusterOptions:x"
        ),
        "BindOptions": (
            "Propagation:s NonRecursive:b CreateMountpoint:b ReadOnlyNonRecursive:b ReadOnlyForceRecursive:b"
        ),
        "VolumeOptions": "NoCopy:b Labels:{s} Subpath:s DriverConfig:?DriverConfig",
        "DriverConfig": "Name:s Options:{s}",
        "ImageOptions": "Subpath:s",
        "TmpfsOptions": "SizeBytes:i Mode:i Options:[[s]]",
        "Network": "EndpointsConfig:{Endpoint}",
        "Endpoint": (
            "IPAMConfig:?IPAMConfig Links:[s] Aliases:[s] MacAddress:s DriverOpts:{s} GwPriority:i NetworkID:s "
            "EndpointID:s Gateway:s IPAddress:s IPPrefixLen:i IPv6Gateway:s GlobalIPv6Address:s "
            "GlobalIPv6PrefixLen:i DNSNames:[s]"
        ),
        "IPAMConfig": "IPv4Address:s IPv6Address:s LinkLocalIPs:[s]",
        "Platform": "architecture:s os:s os.version:s os.features:[s] variant:s",
    },
    keeps_unknown=True,
    old_words=False,
    lower_case=True,
    drops_zeros=True,
    nested={("Host", "resources"): "Resources"},
)
