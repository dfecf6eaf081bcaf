//! What the policies would have done about written rows: that depends on the statement as well.
//!
//! As `rowsecurity.c` of PostgreSQL has it: a row that USING keeps back is not there for UPDATE and DELETE; one that WITH
//! CHECK does not take ends the statement, and so does the row that ON CONFLICT DO UPDATE or MERGE meets and may not
//! change. Where a statement reads columns of the table, the policies for SELECT count with those for the command.

use super::notice::{Group, Notice, NoticeCommand};
use pgwarden_sql::{Reads, Writing, WritingCommand};

/// What would have become of the rows of a notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effect {
    /// So many would have ended the statement (42501).
    pub refused: u64,
    /// So many would not have been there.
    pub hidden: u64,
    /// So many more would have been refused or hidden if the statement reads columns of the table, which is not known.
    pub if_it_reads: u64,
    /// So many were written without a context, and nothing else is known of them.
    pub without_context: u64,
}

/// What becomes of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passes,
    Hidden,
    Refused,
}

impl Effect {
    /// Weighs the rows of a notice; `writing` is what the statement itself says about the table, if it names it.
    #[must_use]
    pub fn of(notice: &Notice, writing: Option<&Writing>) -> Self {
        let command = command(notice, writing.map(|writing| writing.command));
        let reads = match (command, writing) {
            (WritingCommand::Upsert | WritingCommand::Merge, _) => Reads::Yes,
            (_, Some(writing)) => writing.reads,
            (_, None) => Reads::Unknown,
        };
        let mut effect = Self::default();
        for Group(mask, _, _, count) in notice.groups.iter().flatten() {
            effect.add(*mask, *count, notice.command, command, reads);
        }
        effect
    }

    /// Whether anything would have been otherwise, for certain.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    fn add(&mut self, mask: u8, count: u64, half: NoticeCommand, command: WritingCommand, reads: Reads) {
        if mask & Group::NO_CONTEXT != 0 {
            self.without_context += count;
            return;
        }
        let without = fate(mask | Group::OLD_SELECT | Group::NEW_SELECT, half, command);
        let with = fate(mask, half, command);
        match if reads == Reads::Yes { with } else { without } {
            Fate::Refused => self.refused += count,
            Fate::Hidden => self.hidden += count,
            Fate::Passes if reads == Reads::Unknown && with != Fate::Passes => self.if_it_reads += count,
            Fate::Passes => {}
        }
    }
}

/// Which rules hold: those of the statement, if it is one that can have fired these triggers.
fn command(notice: &Notice, said: Option<WritingCommand>) -> WritingCommand {
    use WritingCommand::{Delete, Insert, Merge, Update, Upsert};
    match (notice.command, said) {
        (_, Some(Merge)) => Merge,
        (NoticeCommand::Insert, _) => Insert,
        (NoticeCommand::Update, Some(Upsert)) => Upsert,
        (NoticeCommand::Update, _) if notice.upsert == Some(true) => Upsert,
        (NoticeCommand::Update, _) => Update,
        (NoticeCommand::Delete, _) => Delete,
    }
}

fn fate(mask: u8, half: NoticeCommand, command: WritingCommand) -> Fate {
    let lacks = |bits: u8| mask & bits != bits;
    let (old, new) = (Group::OLD | Group::OLD_SELECT, Group::NEW | Group::NEW_SELECT);
    match (half, command) {
        // What MERGE inserts was not there to be read.
        (NoticeCommand::Insert, WritingCommand::Merge) if lacks(Group::NEW) => Fate::Refused,
        (NoticeCommand::Insert, WritingCommand::Merge) => Fate::Passes,
        (NoticeCommand::Insert, _) if lacks(new) => Fate::Refused,
        (_, WritingCommand::Upsert) if lacks(old | new) => Fate::Refused,
        (_, WritingCommand::Merge) if lacks(Group::OLD_SELECT) => Fate::Hidden,
        (_, WritingCommand::Merge) if lacks(Group::OLD | new) => Fate::Refused,
        (NoticeCommand::Update | NoticeCommand::Delete, _) if lacks(old) => Fate::Hidden,
        (NoticeCommand::Update, _) if lacks(new) => Fate::Refused,
        _ => Fate::Passes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(half: NoticeCommand, mask: u8, command: WritingCommand, reads: Reads) -> Effect {
        let notice = Notice {
            table: 1,
            schema: "s".to_owned(),
            name: "t".to_owned(),
            command: half,
            cascade: false,
            upsert: None,
            depth: Some(1),
            rows: Some(1),
            looked: Some(1),
            groups: Some(vec![Group(mask, None, None, 1)]),
            failed: None,
        };
        let writing = Writing { schema: None, table: "t".to_owned(), command, reads };
        Effect::of(&notice, Some(&writing))
    }

    #[test]
    fn a_row_that_is_not_there_is_hidden_and_one_that_may_not_be_is_refused() {
        use NoticeCommand as N;
        use WritingCommand as W;
        let refused = Effect { refused: 1, ..Effect::default() };
        let hidden = Effect { hidden: 1, ..Effect::default() };
        let if_it_reads = Effect { if_it_reads: 1, ..Effect::default() };
        let none = Effect::default();
        for (half, mask, command, reads, expected) in [
            (N::Insert, 11, W::Insert, Reads::No, refused),
            (N::Insert, 7, W::Insert, Reads::No, none),
            (N::Insert, 7, W::Insert, Reads::Yes, refused),
            (N::Insert, 7, W::Insert, Reads::Unknown, if_it_reads),
            (N::Insert, 7, W::Merge, Reads::Yes, none),
            (N::Update, 14, W::Update, Reads::No, hidden),
            (N::Update, 2, W::Update, Reads::No, hidden),
            (N::Update, 3, W::Update, Reads::No, refused),
            (N::Update, 13, W::Update, Reads::No, none),
            (N::Update, 13, W::Update, Reads::Yes, hidden),
            (N::Update, 13, W::Upsert, Reads::Yes, refused),
            (N::Update, 14, W::Upsert, Reads::Yes, refused),
            (N::Update, 13, W::Merge, Reads::Yes, hidden),
            (N::Update, 14, W::Merge, Reads::Yes, refused),
            (N::Delete, 14, W::Merge, Reads::Yes, refused),
            (N::Delete, 14, W::Delete, Reads::Yes, hidden),
            (N::Delete, 13, W::Delete, Reads::Unknown, if_it_reads),
            (N::Update, 16, W::Update, Reads::Yes, Effect { without_context: 1, ..none }),
        ] {
            assert_eq!(effect(half, mask, command, reads), expected, "{half:?} {mask} {command:?} {reads:?}");
        }
    }
}
