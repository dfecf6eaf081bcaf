//! Parse, Bind, Describe, Execute and Close.

use super::{Block, Copying, Failure, Outcome, Owner, Portal, Server, run, strip};

/// How many values travel behind a Bind's names, as pgwarden and the fuzzed client write them: kept as they are.
struct Names<'a> {
    first: &'a [u8],
    second: &'a [u8],
    rest: &'a [u8],
}

fn names(payload: &[u8]) -> Names<'_> {
    let first = strip(payload);
    let behind = payload.get(first.len() + 1..).unwrap_or_default();
    let second = strip(behind);
    Names { first, second, rest: behind.get(second.len() + 1..).unwrap_or_default() }
}

impl Server {
    pub(super) fn extended(&mut self, tag: u8, payload: &[u8], owner: Option<Owner>) -> Result<(), Failure> {
        match tag {
            b'P' => self.parse(&names(payload)),
            b'B' => self.bind(&names(payload)),
            b'D' => self.describe(payload),
            b'E' => self.execute(strip(payload), owner),
            b'C' => {
                match payload.split_first() {
                    Some((b'S', name)) => drop(self.statements.remove(strip(name))),
                    Some((_, name)) => drop(self.portals.remove(strip(name))),
                    None => return Err(("08P01", "")),
                }
                self.write(|w| {
                    w.message(b'3', |_| ());
                });
                Ok(())
            }
            _ => Err(("08P01", "")),
        }
    }

    fn parse(&mut self, names: &Names<'_>) -> Result<(), Failure> {
        let (name, text) = (names.first, names.second);
        self.look_for_tokens(text, &[]);
        let texts = run::split(text).ok_or(("42601", "scanner_yyerror"))?;
        if texts.len() > 1 {
            return Err(("42601", "exec_parse_message"));
        }
        self.refuse_in_failed_block(text)?;
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(("42P05", "StorePreparedStatement"));
        }
        self.statements.insert(name.to_vec(), text.to_vec());
        self.write(|w| {
            w.message(b'1', |_| ());
        });
        Ok(())
    }

    fn bind(&mut self, names: &Names<'_>) -> Result<(), Failure> {
        let text = self.statements.get(names.second).ok_or(("26000", "FetchPreparedStatement"))?.clone();
        self.look_for_tokens(&text, names.rest);
        self.refuse_in_failed_block(&text)?;
        if !names.first.is_empty() && self.portals.contains_key(names.first) {
            return Err(("42P03", "CreatePortal"));
        }
        if self.block == Block::Outside {
            self.begin(Block::Implicit);
        }
        let portal = Portal { text, bound: names.rest.to_vec(), has_run: false };
        self.portals.insert(names.first.to_vec(), portal);
        self.write(|w| {
            w.message(b'2', |_| ());
        });
        Ok(())
    }

    fn describe(&mut self, payload: &[u8]) -> Result<(), Failure> {
        let (kind, name) = payload.split_first().ok_or(("08P01", ""))?;
        let name = strip(name);
        let text = if *kind == b'S' {
            self.statements.get(name).cloned().ok_or(("26000", "FetchPreparedStatement"))?
        } else {
            self.portals.get(name).map(|portal| portal.text.clone()).ok_or(("34000", ""))?
        };
        self.refuse_in_failed_block(&text)?;
        if *kind == b'S' {
            self.write(|w| {
                w.message(b't', |p| {
                    p.int16(0);
                });
            });
        }
        if run::returns_rows(&text) {
            self.describe_row();
        } else {
            self.write(|w| {
                w.message(b'n', |_| ());
            });
        }
        Ok(())
    }

    fn execute(&mut self, name: &[u8], owner: Option<Owner>) -> Result<(), Failure> {
        let portal = self.portals.get_mut(name).ok_or(("34000", ""))?;
        if portal.has_run {
            if !run::returns_rows(&portal.text) {
                return Err(("55000", "exec_execute_message"));
            }
            self.outcome(&Outcome::Command("SELECT 0"));
            return Ok(());
        }
        portal.has_run = true;
        let Portal { text, bound, .. } = portal.clone();
        let outcome = self.statement(&text, &bound, owner)?;
        self.outcome(&outcome);
        if matches!(outcome, Outcome::CopyIn) {
            self.copying = Some(Copying::Extended);
        }
        Ok(())
    }

    /// Everything but the end of the block is refused in one that failed.
    fn refuse_in_failed_block(&self, text: &[u8]) -> Result<(), Failure> {
        if self.block == Block::Failed && !run::ends_failed_block(text) {
            return Err(("25P02", ""));
        }
        Ok(())
    }
}
