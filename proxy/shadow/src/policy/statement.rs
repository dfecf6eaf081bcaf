//! One statement of a migration.

use super::definition::{Policy, PolicyCommand, Shape, Switch};
use super::migration::{Named, Weight};
use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterTableStmt, AlterTableType, CreatePolicyStmt, DropStmt, LimitOption, Node, ObjectType, ParseResult,
    RangeVar, RawStmt, ResTarget, RoleSpecType, SelectStmt, SetOperation, VariableSetKind, VariableSetStmt,
};

/// What a statement does, as far as policies are concerned.
#[derive(Debug)]
pub(super) enum Statement {
    /// It makes a policy.
    Create(Named, Box<Policy>),
    /// It drops one.
    Drop(Named, String),
    /// It switches row level security on or off.
    Enable(Named, Switch),
    /// It binds the owner, or does not.
    Force(Named, Switch),
    /// It changes what the statements behind it mean.
    Set(Setting),
    /// It makes a function, or grants something on one.
    Helper,
    /// A DO block.
    Block,
    /// It does not matter here.
    Skipped,
    /// It is not staged.
    Unread(String, Weight),
}

/// A setting that matters to what follows; none for the session's own.
#[derive(Debug)]
pub(super) enum Setting {
    /// The role.
    Role(Option<String>),
    /// The search path, as the argument of SET.
    SearchPath(Option<String>),
}

/// Reads one.
pub(super) fn read(node: &NodeEnum) -> Statement {
    match node {
        NodeEnum::CreatePolicyStmt(stmt) => create(stmt).unwrap_or_else(|why| {
            Statement::Unread(format!("policy \"{}\" {why}", stmt.policy_name), Weight::Policies)
        }),
        NodeEnum::AlterPolicyStmt(stmt) => Statement::Unread(
            format!("it alters policy \"{}\": drop it and make it anew instead", stmt.policy_name),
            Weight::Policies,
        ),
        NodeEnum::DropStmt(stmt) if stmt.remove_type == i32::from(ObjectType::ObjectPolicy) => {
            drop_policy(stmt)
        }
        NodeEnum::AlterTableStmt(stmt) => alter(stmt),
        NodeEnum::VariableSetStmt(stmt) => set(stmt),
        NodeEnum::CreateFunctionStmt(_) => Statement::Helper,
        NodeEnum::GrantStmt(stmt) if is_function(stmt.objtype) => Statement::Helper,
        NodeEnum::AlterOwnerStmt(stmt) if is_function(stmt.object_type) => Statement::Helper,
        NodeEnum::CommentStmt(stmt) if is_function(stmt.objtype) => Statement::Helper,
        NodeEnum::DoStmt(_) => Statement::Block,
        NodeEnum::TransactionStmt(_)
        | NodeEnum::LockStmt(_)
        | NodeEnum::CommentStmt(_)
        | NodeEnum::SelectStmt(_) => Statement::Skipped,
        NodeEnum::RenameStmt(stmt) if stmt.rename_type == i32::from(ObjectType::ObjectPolicy) => {
            Statement::Unread("it gives a policy another name".to_owned(), Weight::Policies)
        }
        _ => Statement::Unread(
            "it is not about policies: run it before you stage, if they need it".to_owned(),
            Weight::Aside,
        ),
    }
}

fn is_function(object: i32) -> bool {
    [ObjectType::ObjectFunction, ObjectType::ObjectProcedure, ObjectType::ObjectRoutine]
        .into_iter()
        .any(|kind| object == i32::from(kind))
}

fn create(stmt: &CreatePolicyStmt) -> Result<Statement, String> {
    let table = stmt.table.as_ref().map(named).ok_or("names no table")?;
    let command = match stmt.cmd_name.as_str() {
        "" => PolicyCommand::All,
        word => PolicyCommand::named(word).ok_or("is for an unknown command")?,
    };
    let expression = |node: &Option<Box<Node>>| node.as_deref().map(text).transpose();
    let policy = Policy {
        name: stmt.policy_name.clone(),
        shape: if stmt.permissive { Shape::Permissive } else { Shape::Restrictive },
        command,
        roles: roles(&stmt.roles)?,
        using: expression(&stmt.qual)?,
        check: expression(&stmt.with_check)?,
        search_path: None,
        comment: None,
    };
    Ok(Statement::Create(table, Box::new(policy)))
}

/// Whom the policy is for; empty for PUBLIC, which takes in all others.
fn roles(nodes: &[Node]) -> Result<Vec<String>, String> {
    let mut roles = Vec::new();
    for node in nodes {
        let Some(NodeEnum::RoleSpec(role)) = &node.node else { return Err("names no role".to_owned()) };
        match RoleSpecType::try_from(role.roletype) {
            Ok(RoleSpecType::RolespecCstring) => roles.push(role.rolename.clone()),
            Ok(RoleSpecType::RolespecPublic) => return Ok(Vec::new()),
            _ => return Err("is for whoever runs the file: name the role".to_owned()),
        }
    }
    Ok(roles)
}

fn named(relation: &RangeVar) -> Named {
    let schema = Some(relation.schemaname.clone()).filter(|schema| !schema.is_empty());
    Named { schema, name: relation.relname.clone(), search_path: None }
}

/// `DROP POLICY name ON schema.table`: a list of the table's parts and the policy's name.
fn drop_policy(stmt: &DropStmt) -> Statement {
    let parts = |node: &Node| match &node.node {
        Some(NodeEnum::List(list)) => list.items.iter().filter_map(string).collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    let parts: Vec<String> = stmt.objects.first().map(parts).unwrap_or_default();
    match parts.as_slice() {
        [table, policy] => {
            let table = Named { schema: None, name: table.clone(), search_path: None };
            Statement::Drop(table, policy.clone())
        }
        [.., schema, table, policy] => {
            let table = Named { schema: Some(schema.clone()), name: table.clone(), search_path: None };
            Statement::Drop(table, policy.clone())
        }
        _ => Statement::Unread("it drops a policy that cannot be told".to_owned(), Weight::Policies),
    }
}

fn string(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::String(string)) => Some(string.sval.clone()),
        _ => None,
    }
}

/// Row level security; several commands in one statement are left out unless all of them are about it.
fn alter(stmt: &AlterTableStmt) -> Statement {
    let Some(table) = stmt.relation.as_ref().map(named) else { return Statement::Skipped };
    let kinds = stmt.cmds.iter().map(|node| match &node.node {
        Some(NodeEnum::AlterTableCmd(command)) => AlterTableType::try_from(command.subtype).ok(),
        _ => None,
    });
    let kinds: Vec<Option<AlterTableType>> = kinds.collect();
    let is_force = |kind: &Option<AlterTableType>| {
        matches!(kind, Some(AlterTableType::AtForceRowSecurity | AlterTableType::AtNoForceRowSecurity))
    };
    match kinds.as_slice() {
        [Some(AlterTableType::AtEnableRowSecurity)] => Statement::Enable(table, Switch::On),
        [Some(AlterTableType::AtDisableRowSecurity)] => Statement::Enable(table, Switch::Off),
        [Some(AlterTableType::AtEnableRowSecurity), force]
        | [force, Some(AlterTableType::AtEnableRowSecurity)]
        | [force]
            if is_force(force) =>
        {
            Statement::Force(table, (*force == Some(AlterTableType::AtForceRowSecurity)).into())
        }
        _ => Statement::Unread(
            format!("it alters {}: run it before you stage, if policies need it", table.name),
            Weight::Aside,
        ),
    }
}

fn set(stmt: &VariableSetStmt) -> Statement {
    let resets = stmt.kind != i32::from(VariableSetKind::VarSetValue);
    let texts: Vec<String> = stmt.args.iter().filter_map(constant).collect();
    match stmt.name.as_str() {
        "role" => {
            let role = texts.into_iter().next().filter(|role| !resets && role != "none");
            Statement::Set(Setting::Role(role))
        }
        "search_path" if resets => Statement::Set(Setting::SearchPath(None)),
        "search_path" => {
            let quoted: Vec<String> = texts.iter().map(|name| super::identifier(name)).collect();
            Statement::Set(Setting::SearchPath(Some(quoted.join(", "))))
        }
        "session_authorization" => Statement::Unread(
            "SET SESSION AUTHORIZATION is not followed: use SET ROLE".to_owned(),
            Weight::Policies,
        ),
        _ => Statement::Skipped,
    }
}

fn constant(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(pg_query::protobuf::a_const::Val::Sval(text)) => Some(text.sval.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// An expression as text: written by libpg_query, and taken only if it is read as the same again.
fn text(node: &Node) -> Result<String, String> {
    let target = ResTarget { val: Some(Box::new(node.clone())), ..ResTarget::default() };
    let select = SelectStmt {
        target_list: vec![Node { node: Some(NodeEnum::ResTarget(Box::new(target))) }],
        limit_option: LimitOption::Default.into(),
        op: SetOperation::SetopNone.into(),
        ..SelectStmt::default()
    };
    let raw = RawStmt {
        stmt: Some(Box::new(Node { node: Some(NodeEnum::SelectStmt(Box::new(select))) })),
        ..RawStmt::default()
    };
    let tree = ParseResult { stmts: vec![raw], ..ParseResult::default() };
    let unwritten = |cause: pg_query::Error| format!("has an expression that cannot be written: {cause}");
    let written = pg_query::deparse(&tree, pg_query::DeparseOptions::default()).map_err(unwritten)?;
    let read = pg_query::parse(&written, pg_query::ParserOptions::default()).map_err(unwritten)?;
    let same = shape(&read.protobuf.stmts) == shape(&tree.stmts);
    match written.strip_prefix("SELECT ") {
        Some(expression) if same => Ok(expression.to_owned()),
        _ => Err("has an expression that cannot be written as it was read".to_owned()),
    }
}

/// The tree without the places in the text.
fn shape(statements: &[RawStmt]) -> serde_json::Value {
    let nodes: Vec<_> = statements.iter().map(|raw| &raw.stmt).collect();
    let mut tree = serde_json::to_value(nodes).unwrap_or_default();
    forget_places(&mut tree);
    tree
}

fn forget_places(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|name, _| {
                !(name == "location"
                    || name.ends_with("_location")
                    || name.ends_with("_start")
                    || name.ends_with("_end"))
            });
            fields.values_mut().for_each(forget_places);
        }
        serde_json::Value::Array(values) => values.iter_mut().for_each(forget_places),
        _ => {}
    }
}
