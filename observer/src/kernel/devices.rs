//! Names of network devices by their index, in any namespace, without entering it.
//!
//! `net->dev_index_head` is a hash table of 256 lists (`NETDEV_HASHBITS`, include/linux/netdevice.h, v5.10 … v6.18).

use super::{Reader, Types};

const BUCKETS: u64 = 256;
/// Longer lists than any machine's: what goes on longer is not one.
const LONGEST: usize = 4096;
/// `IFNAMSIZ`
const NAME_BYTES: usize = 16;

/// Where names of devices lie.
#[derive(Clone, Copy, Debug)]
pub struct DeviceLayout {
    /// `net.dev_index_head`
    heads: u64,
    /// `net_device.index_hlist`
    node: u64,
    /// `net_device.ifindex`
    ifindex: u64,
    /// `net_device.name`
    name: u64,
}

impl DeviceLayout {
    /// Finds the offsets; `None` on a kernel that keeps its devices elsewhere.
    pub fn find(types: &mut Types) -> Option<Self> {
        let mut at = |path: &str| types.offset(None, path).map(u64::from);
        Some(Self {
            heads: at("net.dev_index_head")?,
            node: at("net_device.index_hlist")?,
            ifindex: at("net_device.ifindex")?,
            name: at("net_device.name")?,
        })
    }

    /// Name of the device with this index in the namespace at `net`.
    pub fn name(&self, memory: &impl Reader, net: u64, ifindex: u32) -> Option<String> {
        let heads = memory.u64(net + self.heads)?;
        let mut node = memory.u64(heads + 8 * (u64::from(ifindex) % BUCKETS))?;
        for _ in 0..LONGEST {
            if node == 0 {
                return None;
            }
            let device = node.wrapping_sub(self.node);
            if memory.u32(device + self.ifindex)? == ifindex {
                return memory.string(device + self.name, NAME_BYTES);
            }
            node = memory.u64(node)?;
        }
        None
    }
}
