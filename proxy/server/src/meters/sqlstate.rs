//! The classes of SQLSTATE that errors belong to (`errcodes.txt`): a closed set, so that no function of a schema can make
//! labels of its own by RAISE.

use super::labels::{Label, labels};

labels!(
    /// The first two characters of an error's SQLSTATE.
    ErrorClass {
        /// SQL statement not yet complete.
        SqlStatementNotYetComplete = "03",
        /// Connection exception.
        ConnectionException = "08",
        /// Triggered action exception.
        TriggeredActionException = "09",
        /// Feature not supported.
        FeatureNotSupported = "0A",
        /// Invalid transaction initiation.
        InvalidTransactionInitiation = "0B",
        /// Locator exception.
        LocatorException = "0F",
        /// Invalid grantor.
        InvalidGrantor = "0L",
        /// Invalid role specification.
        InvalidRole = "0P",
        /// Diagnostics exception.
        DiagnosticsException = "0Z",
        /// XQuery error.
        XqueryError = "10",
        /// Case not found.
        CaseNotFound = "20",
        /// Cardinality violation.
        CardinalityViolation = "21",
        /// Data exception.
        DataException = "22",
        /// Integrity constraint violation.
        IntegrityViolation = "23",
        /// Invalid cursor state.
        InvalidCursorState = "24",
        /// Invalid transaction state.
        InvalidTransactionState = "25",
        /// Invalid SQL statement name.
        InvalidStatementName = "26",
        /// Triggered data change violation.
        TriggeredDataChange = "27",
        /// Invalid authorization specification.
        InvalidAuthorization = "28",
        /// Dependent privilege descriptors still exist.
        DependentPrivileges = "2B",
        /// Invalid transaction termination.
        InvalidTransactionTermination = "2D",
        /// SQL routine exception.
        RoutineException = "2F",
        /// Invalid cursor name.
        InvalidCursorName = "34",
        /// External routine exception.
        ExternalRoutineException = "38",
        /// External routine invocation exception.
        ExternalRoutineInvocation = "39",
        /// Savepoint exception.
        SavepointException = "3B",
        /// Invalid catalog name.
        InvalidCatalog = "3D",
        /// Invalid schema name.
        InvalidSchema = "3F",
        /// Transaction rollback.
        TransactionRollback = "40",
        /// Syntax error or access rule violation.
        SyntaxOrAccess = "42",
        /// WITH CHECK OPTION violation.
        WithCheckViolation = "44",
        /// Insufficient resources.
        InsufficientResources = "53",
        /// Program limit exceeded.
        ProgramLimitExceeded = "54",
        /// Object not in prerequisite state.
        NotInPrerequisiteState = "55",
        /// Operator intervention.
        OperatorIntervention = "57",
        /// System error, external to PostgreSQL itself.
        SystemError = "58",
        /// Snapshot failure.
        SnapshotTooOld = "72",
        /// Configuration file error.
        ConfigurationFile = "F0",
        /// Foreign data wrapper error.
        ForeignData = "HV",
        /// PL/pgSQL error.
        Plpgsql = "P0",
        /// Internal error.
        Internal = "XX",
        /// None of PostgreSQL's own.
        Other = "other",
    }
);

impl ErrorClass {
    /// The class that these two characters name.
    pub(super) fn of(class: [u8; 2]) -> Self {
        let named = Self::ALL.iter().find(|known| known.label().as_bytes() == class);
        named.copied().unwrap_or(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_found_by_its_characters_and_others_are_other() {
        for class in ErrorClass::ALL.iter().filter(|class| **class != ErrorClass::Other) {
            let characters: [u8; 2] = class.label().as_bytes().try_into().unwrap();
            assert_eq!(ErrorClass::of(characters), *class);
        }
        for strange in [*b"00", *b"ZZ", *b"ot", [0xFF, 0]] {
            assert_eq!(ErrorClass::of(strange), ErrorClass::Other);
        }
    }
}
