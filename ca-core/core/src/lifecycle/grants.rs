//! What a grant has issued, against its cap.

use super::Worker;
use super::signer::Failure;
use crate::evidence::chain::Refusal;
use crate::model::{GrantId, ProblemType, VolumeCap};

impl Worker {
    /// That the grant's cap has room, before the authority's own count is touched: a full grant takes nothing from the
    /// others. The store counts once more as it records the intent.
    pub(super) async fn has_volume(&self, grant: &GrantId, cap: VolumeCap) -> Result<(), Failure> {
        let now = self.clock.now();
        let used = self.store.grant_use(grant, now.minus(cap.window()), cap.certificates()).await?;
        cap.judge(used, now).map_err(|(told, _)| Refusal::new(ProblemType::RateLimited, told).into())
    }
}
