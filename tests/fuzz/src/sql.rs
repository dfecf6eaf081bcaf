//! Texts: the tokenizer, the split into statements, and what is read of each.

use pg_query::protobuf::{SelectStmt, TransactionStmtKind};
use pg_query::{Node, NodeEnum};
use pgwarden_sql::{
    LexError, Marks, Statement, StringSyntax, Verb, analyse, set_config_targets, string_literals,
    user_relations, without_token,
};

/// libpg_query takes longer the deeper a text nests, and is asked only for texts as long as this.
const ASKED: usize = 512;

pub(crate) fn run(text: &[u8]) {
    for strings in [StringSyntax::Standard, StringSyntax::Backslash] {
        check(text, strings);
    }
    if text.len() <= ASKED
        && let Ok(text) = std::str::from_utf8(text)
    {
        compare(text);
        compare_without_token(text);
        let _ = user_relations(text);
    }
}

/// What PostgreSQL accepts is split as PostgreSQL splits it, and no statement that matters is taken for another.
fn compare(text: &str) {
    let Ok(parsed) = pg_query::parse(text, 0) else { return };
    let trees: Vec<&NodeEnum> = parsed
        .protobuf
        .stmts
        .iter()
        .filter_map(|raw| raw.stmt.as_ref().and_then(|stmt| stmt.node.as_ref()))
        .collect();
    let script = match analyse(text.as_bytes(), StringSyntax::Standard) {
        Ok(script) => script,
        Err(LexError::AmbiguousBackslash { .. }) => return,
        Err(error) => panic!("PostgreSQL reads {text:?}: {error}"),
    };
    let statements = script.statements();
    assert_eq!(statements.len(), trees.len(), "{text:?}: {statements:?}");
    for (statement, tree) in statements.iter().zip(trees) {
        assert!(agree(statement, tree), "{text:?}: {statement:?} is {tree:?}");
    }
}

/// Whether a statement was taken for what it is, as far as sessions and transactions are concerned.
fn agree(statement: &Statement, tree: &NodeEnum) -> bool {
    use TransactionStmtKind as Kind;
    let verb = statement.verb;
    match tree {
        NodeEnum::TransactionStmt(control) => match control.kind() {
            Kind::TransStmtBegin | Kind::TransStmtStart => verb == Verb::Begin,
            Kind::TransStmtCommit => verb == Verb::Commit { chain: control.chain },
            Kind::TransStmtRollback => verb == Verb::Rollback { chain: control.chain },
            Kind::TransStmtRollbackTo => verb == Verb::RollbackTo,
            Kind::TransStmtSavepoint => verb == Verb::Savepoint,
            Kind::TransStmtRelease => verb == Verb::Release,
            Kind::TransStmtPrepare => verb == Verb::PrepareTransaction,
            Kind::TransStmtCommitPrepared => verb == Verb::CommitPrepared,
            Kind::TransStmtRollbackPrepared => verb == Verb::RollbackPrepared,
            Kind::Undefined => false,
        },
        _ if verb.controls_transaction() => false,
        NodeEnum::DiscardStmt(_) => matches!(verb, Verb::DiscardAll | Verb::DiscardOther),
        NodeEnum::DeallocateStmt(one) => verb == Verb::Deallocate { all: one.name.is_empty() },
        NodeEnum::CallStmt(_) => verb == Verb::Call,
        NodeEnum::DoStmt(_) => verb == Verb::Do,
        NodeEnum::ExecuteStmt(_) => verb == Verb::ExecutePrepared,
        NodeEnum::ListenStmt(_) => verb == Verb::Listen,
        NodeEnum::SelectStmt(select) if matches!(verb, Verb::SetConfig | Verb::Token) => {
            is_nothing_but_set_config(select)
        }
        NodeEnum::SelectStmt(_)
        | NodeEnum::InsertStmt(_)
        | NodeEnum::UpdateStmt(_)
        | NodeEnum::DeleteStmt(_)
        | NodeEnum::MergeStmt(_) => verb == Verb::Query,
        NodeEnum::VariableSetStmt(set) if verb == Verb::Token => {
            set.name.eq_ignore_ascii_case("pgwarden.token")
        }
        NodeEnum::VariableSetStmt(_) => is_setting(verb),
        _ if matches!(verb, Verb::SetConfig | Verb::Token) => false,
        _ => verb != Verb::Query && !is_setting(verb) || matches!(tree, NodeEnum::ConstraintsSetStmt(_)),
    }
}

/// What runs without a context of its own, and past the guard where a client may say whom it acts for.
fn is_nothing_but_set_config(select: &SelectStmt) -> bool {
    let calls = |node: &Node| {
        let Some(NodeEnum::ResTarget(target)) = &node.node else { return false };
        let Some(NodeEnum::FuncCall(call)) = target.val.as_deref().and_then(|value| value.node.as_ref())
        else {
            return false;
        };
        let name = call.funcname.last().and_then(|name| name.node.as_ref());
        matches!(name, Some(NodeEnum::String(name)) if name.sval == "set_config")
            && call.args.iter().all(is_constant)
    };
    let bare = SelectStmt {
        target_list: select.target_list.clone(),
        limit_option: select.limit_option,
        op: select.op,
        ..SelectStmt::default()
    };
    *select == bare && !select.target_list.is_empty() && select.target_list.iter().all(calls)
}

/// A constant or a parameter, cast or not.
fn is_constant(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => cast.arg.as_deref().is_some_and(is_constant),
        _ => false,
    }
}

/// Without the comment that holds a token, a text says what it says with it.
///
/// Texts with a NUL are left out: no message carries one, and libpg_query cannot be asked about it.
fn compare_without_token(text: &str) {
    if text.contains('\0') {
        return;
    }
    let Some(found) = without_token(text.as_bytes()) else { return };
    let rest = std::str::from_utf8(&found.text).expect("whole characters are taken out");
    let prints = [text, rest].map(|one| pg_query::fingerprint(one, 0, 0).map(|print| print.hex).ok());
    assert_eq!(prints[0], prints[1], "{text:?} without its token is {rest:?}");
}

fn is_setting(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Set
            | Verb::Reset
            | Verb::ResetAll
            | Verb::ResetIdentity
            | Verb::SetRole
            | Verb::SetSessionAuthorization
            | Verb::SetTransaction
            | Verb::SetSessionCharacteristics
            | Verb::SetConstraints
    )
}

fn check(text: &[u8], strings: StringSyntax) {
    let Ok(script) = analyse(text, strings) else { return };
    let mut last = 0;
    for statement in script.statements() {
        let span = &statement.span;
        assert!(span.start >= last && span.start < span.end && span.end <= text.len(), "{statement:?}");
        last = span.end;
        if let Some(setting) = &statement.setting {
            assert!(span.start <= setting.value.start && setting.value.end == span.end, "{statement:?}");
        }
        let targets = set_config_targets(text, statement, strings);
        assert_eq!(targets.is_empty(), !statement.marks.contains(Marks::SET_CONFIG), "{statement:?}");
        assert!(string_literals(text, statement, strings).iter().all(|value| value.len() <= text.len() * 3));
    }
    let again = [text, b"\n/* it's */ ; -- ;"].concat();
    let padded = match analyse(&again, strings) {
        Ok(padded) => padded,
        // Read the other way, the comment is within a literal.
        Err(LexError::AmbiguousBackslash { .. }) => return,
        Err(error) => panic!("a comment behind a readable text: {error}"),
    };
    assert_eq!(padded.statements().len(), script.statements().len(), "a comment is no statement");
}
