"""The Kubernetes API's structures for the volumes of a pod."""

from __future__ import annotations

from typing import Final

VOLUMES: Final = {
    "Volume": (
        "awsElasticBlockStore:AWSElasticBlockStoreSource azureDisk:AzureDiskSource azureFile:AzureFileSource "
        "cephfs:CephFSSource cinder:CinderSource configMap:ConfigMapSource csi:CSISource "
        "downwardAPI:DownwardAPISource emptyDir:EmptyDirSource ephemeral:EphemeralSource fc:FCSource "
        "flexVolume:FlexSource flocker:FlockerSource gcePersistentDisk:GCEPersistentDiskSource gitRepo:GitRepoSource "
        "glusterfs:GlusterfsSource hostPath:HostPathSource iscsi:ISCSISource name:s nfs:NFSSource "
        "persistentVolumeClaim:PersistentVolumeClaimSource photonPersistentDisk:PhotonPersistentDiskSource "
        "portworxVolume:PortworxSource projected:ProjectedSource quobyte:QuobyteSource rbd:RBDSource "
        "scaleIO:ScaleIOSource secret:SecretSource storageos:StorageOSSource vsphereVolume:VsphereVirtualDiskSource "
        "image:ImageSource"
    ),
    "AWSElasticBlockStoreSource": "fsType:s partition:i readOnly:b volumeID:s",
    "AzureDiskSource": "cachingMode:s diskName:s diskURI:s fsType:s kind:s readOnly:b",
    "AzureFileSource": "readOnly:b secretName:s shareName:s",
    "CephFSSource": "monitors:[s] path:s readOnly:b secretFile:s secretRef:LocalObjectReference user:s",
    "CinderSource": "fsType:s readOnly:b secretRef:LocalObjectReference volumeID:s",
    "ConfigMapSource": "defaultMode:i items:[KeyToPath] name:s optional:b",
    "CSISource": "driver:s fsType:s nodePublishSecretRef:LocalObjectReference readOnly:b volumeAttributes:{s}",
    "DownwardAPISource": "defaultMode:i items:[DownwardAPIVolumeFile]",
    "EmptyDirSource": "medium:s sizeLimit:q",
    "EphemeralSource": "volumeClaimTemplate:PersistentVolumeClaimTemplate",
    "FCSource": "fsType:s lun:i readOnly:b targetWWNs:[s] wwids:[s]",
    "FlexSource": "driver:s fsType:s options:{s} readOnly:b secretRef:LocalObjectReference",
    "FlockerSource": "datasetName:s datasetUUID:s",
    "GCEPersistentDiskSource": "fsType:s partition:i pdName:s readOnly:b",
    "GitRepoSource": "directory:s repository:s revision:s",
    "GlusterfsSource": "endpoints:s path:s readOnly:b",
    "HostPathSource": "path:s type:s",
    "ISCSISource": (
        "chapAuthDiscovery:b chapAuthSession:b fsType:s initiatorName:s iqn:s iscsiInterface:s lun:i portals:[s] "
        "readOnly:b secretRef:LocalObjectReference targetPortal:s"
    ),
    "NFSSource": "path:s readOnly:b server:s",
    "PersistentVolumeClaimSource": "claimName:s readOnly:b",
    "PhotonPersistentDiskSource": "fsType:s pdID:s",
    "PortworxSource": "fsType:s readOnly:b volumeID:s",
    "ProjectedSource": "defaultMode:i sources:[VolumeProjection]",
    "QuobyteSource": "group:s readOnly:b registry:s tenant:s user:s volume:s",
    "RBDSource": "fsType:s image:s keyring:s monitors:[s] pool:s readOnly:b secretRef:LocalObjectReference user:s",
    "ScaleIOSource": (
        "fsType:s gateway:s protectionDomain:s readOnly:b secretRef:LocalObjectReference sslEnabled:b storageMode:s "
        "storagePool:s system:s volumeName:s"
    ),
    "SecretSource": "defaultMode:i items:[KeyToPath] optional:b secretName:s",
    "StorageOSSource": "fsType:s readOnly:b secretRef:LocalObjectReference volumeName:s volumeNamespace:s",
    "VsphereVirtualDiskSource": "fsType:s storagePolicyID:s storagePolicyName:s volumePath:s",
    "KeyToPath": "key:s mode:i path:s",
    "DownwardAPIVolumeFile": "fieldRef:ObjectFieldSelector mode:i path:s resourceFieldRef:ResourceFieldSelector",
    "PersistentVolumeClaimTemplate": "metadata:ObjectMeta spec:PersistentVolumeClaimSpec",
    "VolumeProjection": (
        "configMap:ConfigMapProjection downwardAPI:DownwardAPIProjection secret:SecretProjection "
        "serviceAccountToken:ServiceAccountTokenProjection clusterTrustBundle:ClusterTrustBundleProjection "
        "podCertificate:PodCertificateProjection"
    ),
    "PersistentVolumeClaimSpec": (
        "accessModes:[s] dataSource:TypedLocalObjectReference dataSourceRef:TypedObjectReference "
        "resources:ResourceRequirements selector:LabelSelector storageClassName:s volumeMode:s volumeName:s "
        "volumeAttributesClassName:?s"
    ),
    "ConfigMapProjection": "items:[KeyToPath] name:s optional:b",
    "DownwardAPIProjection": "items:[DownwardAPIVolumeFile]",
    "SecretProjection": "items:[KeyToPath] name:s optional:b",
    "ServiceAccountTokenProjection": "audience:s expirationSeconds:i path:s",
    "TypedLocalObjectReference": "apiGroup:s kind:s name:s",
    "ClusterTrustBundleProjection": "name:?s signerName:?s labelSelector:LabelSelector optional:?b path:s",
    "ImageSource": "reference:s pullPolicy:s",
    "PodCertificateProjection": (
        "signerName:s keyType:s maxExpirationSeconds:?i credentialBundlePath:s keyPath:s certificateChainPath:s "
        "userAnnotations:{s}"
    ),
    "TypedObjectReference": "apiGroup:?s kind:s name:s namespace:?s",
}
