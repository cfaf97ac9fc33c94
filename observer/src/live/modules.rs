//! Which modules are loaded. One that was unloaded and loaded again is another: its functions may lie where they lay before, but
//! no probe is on them any more.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The modules that are loaded: by name, the inode of `/sys/module/NAME`, which kernfs gives each directory anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules(BTreeMap<String, u64>);

impl Modules {
    /// As they are now.
    pub fn read() -> Self {
        Self::of(
            &std::fs::read_to_string("/proc/modules").unwrap_or_default(),
            Path::new("/sys/module"),
        )
    }

    fn of(listed: &str, directories: &Path) -> Self {
        let names = listed.lines().filter_map(|line| line.split(' ').next());
        let inode = |name: &str| std::fs::metadata(directories.join(name)).map_or(0, |data| data.ino());
        Self(names.map(|name| (name.to_owned(), inode(name))).collect())
    }

    /// Those of `earlier` that are gone, or are no longer the same.
    pub fn lacks(&self, earlier: &Self) -> Vec<String> {
        let is_here = |name: &String, inode: &u64| self.0.get(name) == Some(inode);
        let gone = earlier.0.iter().filter(|(name, inode)| !is_here(name, inode));
        gone.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_loaded_again_is_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let make = |name: &str| std::fs::create_dir(directory.path().join(name)).expect("a directory");
        let read = |listed: &str| Modules::of(listed, directory.path());
        ["nf_tables", "veth"].into_iter().for_each(make);
        let listed = "nf_tables 380928 12 nft_ct, Live 0x0\nveth 40960 0 - Live 0x0\n";
        let before = read(listed);
        assert!(read(listed).lacks(&before).is_empty());
        assert_eq!(read("veth 40960 0 - Live 0x0\n").lacks(&before), ["nf_tables"]);
        // Another directory of that name: the old one is kept, so that its inode is not given again.
        std::fs::rename(directory.path().join("nf_tables"), directory.path().join("old")).expect("renamed");
        make("nf_tables");
        let after = read(listed);
        assert_ne!(after, before);
        assert_eq!(after.lacks(&before), ["nf_tables"]);
        assert!(before.lacks(&Modules::default()).is_empty());
    }
}
