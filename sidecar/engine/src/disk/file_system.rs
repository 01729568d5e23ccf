//! Which file systems are not part of a project that they are mounted in.
//!
//! What the system makes up (`/proc`) has no end and no meaning, and every file of a network file system costs a round trip
//! and may hang. Memory and local disks are entered like any folder.

use cap_std::fs::Dir;

/// The name of a directory's file system when it is a made-up one or one of a network.
#[cfg(target_os = "linux")]
pub fn unusual(dir: &Dir) -> Option<&'static str> {
    /// The numbers of `statfs`, from the kernel's `linux/magic.h` and the file systems' own headers.
    const UNUSUAL: &[(u32, &str)] = &[
        (0x9fa0, "proc"),
        (0x6265_6572, "sysfs"),
        (0x0027_e0eb, "cgroup"),
        (0x6367_7270, "cgroup2"),
        (0x1cd1, "devpts"),
        (0x6462_6720, "debugfs"),
        (0x7472_6163, "tracefs"),
        (0x7363_6673, "securityfs"),
        (0x6165_676c, "pstore"),
        (0xcafe_4a11, "bpf"),
        (0xde5e_81e4, "efivarfs"),
        (0x1980_0202, "mqueue"),
        (0x9584_58f6, "hugetlbfs"),
        (0x6265_6570, "configfs"),
        (0xf97c_ff8c, "selinuxfs"),
        (0x4249_4e4d, "binfmt_misc"),
        (0x6e73_6673, "nsfs"),
        (0x6759_6969, "rpc_pipefs"),
        (0x6573_5543, "fusectl"),
        (0x0187, "autofs"),
        (0x6969, "nfs"),
        (0x517b, "smb"),
        (0xff53_4d42, "cifs"),
        (0xfe53_4d42, "smb2"),
        (0x564c, "ncp"),
        (0x7375_7245, "coda"),
        (0x5346_414f, "afs"),
        (0x6b41_4653, "afs"),
        (0x00c3_6400, "ceph"),
        (0x0102_1997, "9p"),
        (0x6573_5546, "fuse"),
        (0x0bd0_0bd0, "lustre"),
        (0x4750_4653, "gpfs"),
    ];
    let kind = rustix::fs::fstatfs(dir).ok()?.f_type as u32;
    UNUSUAL.iter().find(|(number, _)| *number == kind).map(|(_, name)| *name)
}

/// The name of a directory's file system when it is a made-up one or one of a network.
#[cfg(target_os = "macos")]
pub fn unusual(dir: &Dir) -> Option<&'static str> {
    let stat = rustix::fs::fstatfs(dir).ok()?;
    (stat.f_flags & libc::MNT_LOCAL as u32 == 0).then_some("network")
}

/// Windows mounts file systems through reparse points, which are never entered.
#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub fn unusual(_: &Dir) -> Option<&'static str> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_makes_up_is_told_from_a_disk() {
        let open = |path: &std::path::Path| Dir::open_ambient_dir(path, cap_std::ambient_authority()).unwrap();
        assert_eq!(unusual(&open("/proc".as_ref())), Some("proc"));
        if std::fs::read("/proc/mounts").unwrap().windows(12).any(|line| line == b"sysfs /sys s") {
            assert_eq!(unusual(&open("/sys".as_ref())), Some("sysfs"));
        }
        let memory = std::path::Path::new("/dev/shm");
        if memory.is_dir() {
            assert_eq!(unusual(&open(memory)), None);
        }
    }
}
