package system

import "golang.org/x/sys/unix"

// The magic numbers of network file systems, from statfs(2), and of FUSE, which most often is one (sshfs, s3fs,
// gluster). Locks or mmap are unreliable on each.
var networkMagic = map[int64]string{
	0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x01021997: "9P", 0x5346414f: "AFS", 0x73757245: "Coda",
	0x00c36400: "Ceph", 0x0bd00bd0: "Lustre", 0x47504653: "GPFS", 0x65735546: "FUSE",
}

// networkFileSystem names the network file system that path is on; empty for local ones.
func networkFileSystem(path string) string {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return ""
	}
	return networkMagic[int64(uint32(s.Type))] //nolint:unconvert,nolintlint // Type is int32 or int64 by architecture
}
