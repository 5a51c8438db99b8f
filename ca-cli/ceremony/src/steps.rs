//! The steps of a ceremony: the same numbers and words on paper, on the screen and in the report.

/// A step, for everybody in the room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Plan,
    Room,
    Keys,
    Statements,
    Signing,
    Evidence,
    Closing,
    CoSigning,
    Audit,
}

impl Step {
    pub(crate) const ALL: [Self; 9] =
        [Self::Plan, Self::Room, Self::Keys, Self::Statements, Self::Signing, Self::Evidence, Self::Closing, Self::CoSigning, Self::Audit];

    pub(crate) fn number(self) -> usize {
        Self::ALL.iter().position(|s| *s == self).map_or(0, |at| at + 1)
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Plan => "The officers sign the plan",
            Self::Room => "Who is here, and what the clocks say",
            Self::Keys => "Machine and devices are checked, keys are made",
            Self::Statements => "The officers read and sign each statement",
            Self::Signing => "The root signs what was approved",
            Self::Evidence => "Bags, media, custody, exceptions",
            Self::Closing => "The transcript is closed and verified",
            Self::CoSigning => "Everyone signs the closed transcript",
            Self::Audit => "The auditor verifies the bundle elsewhere",
        }
    }
}
