//! Named points of the issuance path, at which a test may end the process.

/// A point of the issuance path.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HaltPoint {
    /// A request or a job is leased; nothing is recorded.
    AfterLease,
    /// The intent is durable; nothing is signed.
    AfterIntent,
    /// The key has signed; nothing is stored.
    AfterSign,
    /// The signature is verified and about to be stored.
    BeforeRelease,
    /// The certificate or CRL is stored and released.
    AfterRelease,
}

impl HaltPoint {
    /// Every point, in the order of the path.
    pub const ALL: [Self; 5] = [Self::AfterLease, Self::AfterIntent, Self::AfterSign, Self::BeforeRelease, Self::AfterRelease];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfterLease => "after-lease",
            Self::AfterIntent => "after-intent",
            Self::AfterSign => "after-sign",
            Self::BeforeRelease => "before-release",
            Self::AfterRelease => "after-release",
        }
    }
}

/// Is told when the worker passes a point; once for each request and each signing job.
pub trait Probe: Send + Sync {
    /// The worker is at `point`.
    fn at(&self, point: HaltPoint);
}

/// Lets everything pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProbe;

impl Probe for NoProbe {
    fn at(&self, _: HaltPoint) {}
}
