//! What became of the records.

/// Of all records of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    /// The collector has them.
    pub(super) records: u64,
    /// It would not have them.
    pub(super) refused: u64,
    /// There was no room for them.
    pub(super) lost: u64,
    /// They are in the file, and go out with the next run.
    pub(super) kept: u64,
}

impl Delivered {
    /// What is to be said at the end, if anything is.
    pub(super) fn words(self) -> Option<String> {
        let counts = [
            (self.lost, "lost, since there was no room for them"),
            (self.refused, "refused by the collector"),
            (self.kept, "kept in the file of --otlp-buffer for the next start"),
        ];
        let words: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!words.is_empty()).then(|| {
            let records = self.records;
            format!("{records} log records were delivered; {}", words.join("; "))
        })
    }
}
