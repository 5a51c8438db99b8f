//! How many connections one network may have open, so that those of one do not take the server from all others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ca_core::limits::network_of;

/// Open connections by network. It holds no more networks than there are connections.
#[derive(Debug, Default)]
pub struct Shares(Mutex<HashMap<IpAddr, u32>>);

/// One open connection; it counts until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Share {
    shares: Arc<Shares>,
    network: IpAddr,
}

impl Shares {
    /// Counts one more from `address`; nothing where its network has `most` already.
    pub fn enter(self: &Arc<Self>, address: IpAddr, most: u32) -> Option<Share> {
        let network = network_of(address);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&network).copied().unwrap_or(0);
        if count >= most {
            return None;
        }
        open.insert(network, count + 1);
        Some(Share { shares: Arc::clone(self), network })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.shares.0.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get(&self.network).copied() {
            Some(count) if count > 1 => drop(open.insert(self.network, count - 1)),
            _ => drop(open.remove(&self.network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a23_a_network_has_its_share_of_connections_and_no_more() {
        let shares = Arc::<Shares>::default();
        let enter = |address: &str| shares.enter(address.parse().unwrap(), 2);
        let (first, second) = (enter("10.0.0.1").unwrap(), enter("10.0.0.2").unwrap());
        assert!(enter("10.0.0.3").is_none() && enter("::ffff:10.0.0.4").is_none());
        assert!(enter("10.0.1.1").is_some());
        drop(first);
        let third = enter("10.0.0.3").unwrap();
        assert!(enter("10.0.0.1").is_none());
        drop((second, third));
        assert!(shares.0.lock().unwrap().is_empty(), "what has ended leaves nothing");
    }
}
