//! The one thread that parses SQL with PostgreSQL's own grammar: it needs a deep stack and takes its time.

use pgwarden_tenant::{Guard, Names, RelationCache};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use tokio::sync::oneshot;

/// Bytes of stack for deeply nested statements.
const STACK: usize = 64 * 1024 * 1024;
/// Questions that may wait.
const BACKLOG: usize = 1024;

/// A text, the guard that may have suspected it, and who waits.
type Question = (Vec<u8>, Arc<Guard>, oneshot::Sender<()>);

/// Asks which relations a text names, and whether it touches the context.
#[derive(Debug, Clone)]
pub(crate) struct Parser {
    questions: SyncSender<Question>,
    relations: Arc<RelationCache>,
}

impl Parser {
    /// Starts the thread; answers go into `relations`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(relations: Arc<RelationCache>) -> std::io::Result<Self> {
        let (questions, received) = sync_channel(BACKLOG);
        let cache = Arc::clone(&relations);
        std::thread::Builder::new()
            .name("pgwarden-parser".into())
            .stack_size(STACK)
            .spawn(move || answer_all(&received, &cache))?;
        Ok(Self { questions, relations })
    }

    /// Sees to it that the cache and the guard know the text; what cannot be asked counts as naming a relation, and stays
    /// suspected.
    ///
    /// Cancel safe.
    pub(crate) async fn look_at(&self, text: Vec<u8>, guard: &Arc<Guard>) {
        let (done, answered) = oneshot::channel();
        match self.questions.try_send((text, Arc::clone(guard), done)) {
            Ok(()) => {
                let _answered = answered.await;
            }
            Err(refused) => {
                let (std::sync::mpsc::TrySendError::Full((text, guard, _))
                | std::sync::mpsc::TrySendError::Disconnected((text, guard, _))) = refused;
                self.relations.remember(&text, Names::Relation);
                guard.give_up(&text);
            }
        }
    }
}

fn answer_all(questions: &Receiver<Question>, cache: &RelationCache) {
    while let Ok((text, guard, done)) = questions.recv() {
        cache.remember(&text, names_relation(&text));
        guard.parse(&text);
        let _gone = done.send(());
    }
}

/// What does not parse counts as naming a relation: the server would refuse it, and so does `enforce`.
fn names_relation(text: &[u8]) -> Names {
    let relations = std::str::from_utf8(text).ok().and_then(|text| pgwarden_sql::user_relations(text).ok());
    match relations {
        Some(relations) if relations.is_empty() => Names::Nothing,
        _ => Names::Relation,
    }
}
