"""The Kubernetes API's structures for a pod."""

from __future__ import annotations

from typing import Final

from moorage.config.reading.structs import Table
from moorage.config.tables.kubernetes_volumes import VOLUMES

_POD: Final = {
    "ObjectMeta": (
        "annotations:{s} creationTimestamp:s deletionGracePeriodSeconds:?i deletionTimestamp:s finalizers:[s] "
        "generateName:s generation:i labels:{s} managedFields:[ManagedFieldsEntry] name:s namespace:s "
        "ownerReferences:[OwnerReference] resourceVersion:s selfLink:s uid:s"
    ),
    "PodSpec": (
        "activeDeadlineSeconds:?i affinity:?Affinity automountServiceAccountToken:?b containers:[Container] "
        "dnsConfig:?PodDNSConfig dnsPolicy:s enableServiceLinks:?b ephemeralContainers:[EphemeralContainer] "
        "hostAliases:[HostAlias] hostIPC:b hostNetwork:b hostPID:b hostname:s imagePullSecrets:[LocalObjectReference] "
        "initContainers:[Container] nodeName:s nodeSelector:{s} os:?PodOS overhead:{q} preemptionPolicy:?s "
        "priority:?i priorityClassName:s readinessGates:[PodReadinessGate] restartPolicy:s runtimeClassName:?s "
        "schedulerName:s securityContext:?PodSecurityContext serviceAccount:s serviceAccountName:s "
        "setHostnameAsFQDN:?b shareProcessNamespace:?b subdomain:s terminationGracePeriodSeconds:?i "
        "tolerations:[Toleration] topologySpreadConstraints:[TopologySpreadConstraint] volumes:[Volume] hostUsers:?b "
        "schedulingGates:[PodSchedulingGate] resourceClaims:[PodResourceClaim] resources:?ResourceRequirements "
        "hostnameOverride:?s workloadRef:?WorkloadReference"
    ),
    "ManagedFieldsEntry": "apiVersion:s fieldsType:s fieldsV1:x manager:s operation:s subresource:s time:s",
    "OwnerReference": "apiVersion:s blockOwnerDeletion:b controller:b kind:s name:s uid:s",
    "Affinity": "nodeAffinity:?NodeAffinity podAffinity:?PodAffinity podAntiAffinity:?PodAntiAffinity",
    "Container": (
        "args:[s] command:[s] env:[EnvVar] envFrom:[EnvFromSource] image:s imagePullPolicy:s lifecycle:Lifecycle "
        "livenessProbe:Probe name:s ports:[ContainerPort] readinessProbe:Probe resources:ResourceRequirements "
        "securityContext:SecurityContext startupProbe:Probe stdin:b stdinOnce:b terminationMessagePath:s "
        "terminationMessagePolicy:s tty:b volumeDevices:[VolumeDevice] volumeMounts:[VolumeMount] workingDir:s "
        "resizePolicy:[ContainerResizePolicy] restartPolicy:s restartPolicyRules:[ContainerRestartRule]"
    ),
    "PodDNSConfig": "nameservers:[s] options:[PodDNSConfigOption] searches:[s]",
    "EphemeralContainer": (
        "args:[s] command:[s] env:[EnvVar] envFrom:[EnvFromSource] image:s imagePullPolicy:s lifecycle:Lifecycle "
        "livenessProbe:Probe name:s ports:[ContainerPort] readinessProbe:Probe resources:ResourceRequirements "
        "securityContext:SecurityContext startupProbe:Probe stdin:b stdinOnce:b targetContainerName:s "
        "terminationMessagePath:s terminationMessagePolicy:s tty:b volumeDevices:[VolumeDevice] "
        "volumeMounts:[VolumeMount] workingDir:s resizePolicy:[ContainerResizePolicy] restartPolicy:s "
        "restartPolicyRules:[ContainerRestartRule]"
    ),
    "HostAlias": "hostnames:[s] ip:s",
    "LocalObjectReference": "name:s",
    "PodOS": "name:s",
    "PodReadinessGate": "conditionType:s",
    "PodSecurityContext": (
        "fsGroup:?i fsGroupChangePolicy:?s runAsGroup:?i runAsNonRoot:?b runAsUser:?i seLinuxOptions:?SELinuxOptions "
        "seccompProfile:?SeccompProfile supplementalGroups:[i] sysctls:[Sysctl] "
        "windowsOptions:?WindowsSecurityContextOptions appArmorProfile:?AppArmorProfile supplementalGroupsPolicy:?s "
        "seLinuxChangePolicy:?s"
    ),
    "Toleration": "effect:s key:s operator:s tolerationSeconds:i value:s",
    "TopologySpreadConstraint": (
        "labelSelector:LabelSelector maxSkew:i topologyKey:s whenUnsatisfiable:s minDomains:?i nodeAffinityPolicy:?s "
        "nodeTaintsPolicy:?s matchLabelKeys:[s]"
    ),
    "ResourceRequirements": "limits:{q} requests:{q} claims:[ResourceClaim]",
    "NodeAffinity": (
        "preferredDuringSchedulingIgnoredDuringExecution:[PreferredSchedulingTerm] "
        "requiredDuringSchedulingIgnoredDuringExecution:?NodeSelector"
    ),
    "PodAffinity": (
        "preferredDuringSchedulingIgnoredDuringExecution:[WeightedPodAffinityTerm] "
        "requiredDuringSchedulingIgnoredDuringExecution:[PodAffinityTerm]"
    ),
    "PodAntiAffinity": (
        "preferredDuringSchedulingIgnoredDuringExecution:[WeightedPodAffinityTerm] "
        "requiredDuringSchedulingIgnoredDuringExecution:[PodAffinityTerm]"
    ),
    "EnvVar": "name:s value:s valueFrom:EnvVarSource",
    "EnvFromSource": "configMapRef:ConfigMapEnvSource prefix:s secretRef:SecretEnvSource",
    "Lifecycle": "postStart:LifecycleHandler preStop:LifecycleHandler stopSignal:?s",
    "Probe": (
        "exec:ExecAction failureThreshold:i grpc:GRPCAction httpGet:HTTPGetAction initialDelaySeconds:i "
        "periodSeconds:i successThreshold:i tcpSocket:TCPSocketAction terminationGracePeriodSeconds:i "
        "timeoutSeconds:i"
    ),
    "ContainerPort": "containerPort:i hostIP:s hostPort:i name:s protocol:s",
    "SecurityContext": (
        "allowPrivilegeEscalation:?b capabilities:?Capabilities privileged:?b procMount:?s readOnlyRootFilesystem:?b "
        "runAsGroup:?i runAsNonRoot:?b runAsUser:?i seLinuxOptions:?SELinuxOptions seccompProfile:?SeccompProfile "
        "windowsOptions:?WindowsSecurityContextOptions appArmorProfile:?AppArmorProfile"
    ),
    "VolumeDevice": "devicePath:s name:s",
    "VolumeMount": "mountPath:s mountPropagation:s name:s readOnly:b subPath:s subPathExpr:s recursiveReadOnly:?s",
    "PodDNSConfigOption": "name:s value:s",
    "SELinuxOptions": "level:s role:s type:s user:s",
    "SeccompProfile": "localhostProfile:?s type:s",
    "Sysctl": "name:s value:s",
    "WindowsSecurityContextOptions": "gmsaCredentialSpec:?s gmsaCredentialSpecName:?s hostProcess:?b runAsUserName:?s",
    "LabelSelector": "matchExpressions:[LabelSelectorRequirement] matchLabels:{s}",
    "PreferredSchedulingTerm": "preference:NodeSelectorTerm weight:i",
    "NodeSelector": "nodeSelectorTerms:[NodeSelectorTerm]",
    "WeightedPodAffinityTerm": "podAffinityTerm:PodAffinityTerm weight:i",
    "PodAffinityTerm": (
        "labelSelector:LabelSelector namespaceSelector:LabelSelector namespaces:[s] topologyKey:s matchLabelKeys:[s] "
        "mismatchLabelKeys:[s]"
    ),
    "EnvVarSource": (
        "configMapKeyRef:ConfigMapKeySelector fieldRef:ObjectFieldSelector resourceFieldRef:ResourceFieldSelector "
        "secretKeyRef:SecretKeySelector fileKeyRef:FileKeySelector"
    ),
    "ConfigMapEnvSource": "name:s optional:b",
    "SecretEnvSource": "name:s optional:b",
    "LifecycleHandler": "exec:ExecAction httpGet:HTTPGetAction tcpSocket:TCPSocketAction sleep:SleepAction",
    "ExecAction": "command:[s]",
    "GRPCAction": "port:i service:s",
    "HTTPGetAction": "host:s httpHeaders:[HTTPHeader] path:s port:q scheme:s",
    "TCPSocketAction": "host:s port:q",
    "Capabilities": "add:[s] drop:[s]",
    "LabelSelectorRequirement": "key:s operator:s values:[s]",
    "NodeSelectorTerm": "matchExpressions:[NodeSelectorRequirement] matchFields:[NodeSelectorRequirement]",
    "ConfigMapKeySelector": "key:s name:s optional:b",
    "ObjectFieldSelector": "apiVersion:s fieldPath:s",
    "ResourceFieldSelector": "containerName:s divisor:q resource:s",
    "SecretKeySelector": "key:s name:s optional:b",
    "HTTPHeader": "name:s value:s",
    "NodeSelectorRequirement": "key:s operator:s values:[s]",
    "AppArmorProfile": "type:s localhostProfile:?s",
    "ContainerExitCodes": "operator:s values:[i]",
    "ContainerResizePolicy": "resourceName:s restartPolicy:s",
    "ContainerRestartRule": "action:s exitCodes:ContainerExitCodes",
    "FileKeySelector": "volumeName:s path:s key:s optional:?b",
    "PodResourceClaim": "name:s resourceClaimName:?s resourceClaimTemplateName:?s",
    "PodSchedulingGate": "name:s",
    "ResourceClaim": "name:s request:s",
    "SleepAction": "seconds:i",
    "WorkloadReference": "name:s podGroup:s podGroupReplicaKey:s",
}

TABLE: Final = Table(
    structs={**_POD, **VOLUMES},
    keeps_unknown=False,
    old_words=True,
    lower_case=False,
    drops_zeros=False,
    nested={},
)
