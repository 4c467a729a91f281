//! What the kernel refuses, in words.

use rustix::io::Errno;

use crate::ruleset::{Key, Table, Verdict};
use crate::text::InTable;
use crate::transaction::Operation;
use crate::wire::batch::{Batch, Unwritable};
use crate::wire::message::Answer;

/// Why the kernel cannot be used, or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// There is no `nf_tables`.
    #[error(
        "this kernel has no nf_tables\nhint: load the module with 'modprobe nf_tables', or use a kernel with CONFIG_NF_TABLES and CONFIG_NF_TABLES_INET"
    )]
    Missing,
    /// The process has no right to it.
    #[error("the process may not use nf_tables\nhint: it needs CAP_NET_ADMIN in its network namespace")]
    NotPermitted,
    /// Others kept committing.
    #[error("other programs change the ruleset so often that it cannot be read or written in one state")]
    Unsteady,
    /// There is no part of the kernel beside `nf_tables` that was asked for.
    #[error("this kernel has no {part}\nhint: {hint}")]
    Absent {
        /// What is missing.
        part: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// A log group has only one listener.
    #[error("another program listens to log group {0}\nhint: choose another group")]
    LogGroupTaken(u16),
    /// An answer got lost.
    #[error("the kernel did not say what became of a batch\nhint: read the table back and compare")]
    NoAnswer,
    /// Anything else.
    #[error("cannot {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        #[source]
        errno: Errno,
    },
}

impl KernelError {
    pub(crate) fn of(operation: &'static str, errno: Errno) -> KernelError {
        match errno {
            Errno::PERM | Errno::ACCESS => KernelError::NotPermitted,
            // No such protocol, or no such part of it.
            Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::INVAL => KernelError::Missing,
            errno => KernelError::Io { operation, errno },
        }
    }
}

/// Why a transaction was not applied. The table is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The kernel refused an operation.
    #[error("cannot {operation}: {reason}{}", detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default())]
    Refused {
        /// What was tried, and with which object.
        operation: String,
        /// What the error number means here.
        reason: &'static str,
        /// What the kernel added, if anything.
        detail: Option<String>,
        /// The error number.
        #[source]
        errno: Errno,
    },
    /// Somebody deleted the table, or put objects into it or took some out, since we looked.
    #[error("the table was changed by another program\nhint: read it back, compare, and apply the difference")]
    Changed,
    /// The transaction is for another table than the connection.
    #[error("a transaction for table {transaction} cannot be applied to table {kernel}")]
    OtherTable {
        /// The table of the transaction.
        transaction: Table,
        /// The table of the connection.
        kernel: Table,
    },
    /// What must happen at once does not fit into the socket's buffer.
    #[error(
        "the transaction has {bytes} bytes that must be applied at once, and the socket takes {limit}\nhint: raise net.core.wmem_max to at least {bytes}, or run in the initial user namespace"
    )]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What the socket takes.
        limit: usize,
    },
    /// A rule that another program wrote cannot be written by this one.
    #[error("operation {0} has a statement that another program wrote and this one does not understand")]
    Unwritable(usize),
    /// The kernel cannot be used.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl From<Unwritable> for ApplyError {
    fn from(Unwritable(operation): Unwritable) -> ApplyError {
        ApplyError::Unwritable(operation)
    }
}

impl ApplyError {
    pub(super) fn refused(
        table: Table,
        batch: &Batch,
        operations: &[Operation],
        message: u32,
        answer: Answer,
    ) -> ApplyError {
        let errno = Errno::from_raw_os_error(answer.errno);
        if errno == Errno::PERM {
            return KernelError::NotPermitted.into();
        }
        let element = answer.offset.and_then(|offset| batch.element(message, offset));
        let operation = match batch.operation(message).and_then(|index| operations.get(index)) {
            Some(operation) => describe(table, operation, element),
            None => "commit the batch".to_string(),
        };
        ApplyError::Refused { operation, reason: meaning(errno), detail: answer.text, errno }
    }
}

/// The operation in words, with the one element of many that is meant.
fn describe(table: Table, operation: &Operation, element: Option<usize>) -> String {
    match operation {
        Operation::AddTable(_) => format!("create table {table}"),
        Operation::DeleteTable => format!("delete table {table}"),
        Operation::AddChain(name, ..) => format!("create chain {name}"),
        Operation::DeleteChain(name) => format!("delete chain {name}"),
        Operation::FlushChain(name) => format!("delete the rules of chain {name}"),
        Operation::AddRule(chain, _) => format!("write a rule: {} (chain {chain})", InTable(table, operation)),
        Operation::AddSet(name, definition) if definition.verdicts => format!("create map {name}"),
        Operation::AddSet(name, _) => format!("create set {name}"),
        Operation::AddCounter(name, _) => format!("create counter {name}"),
        Operation::DeleteCounter(name) => format!("delete counter {name}"),
        Operation::DeleteSet(name) => format!("delete set {name}"),
        Operation::FlushSet(name) => format!("delete the elements of set {name}"),
        Operation::AddElements(set, elements) => match element.and_then(|index| elements.iter().nth(index)) {
            Some(element) => format!("add element {} to {set}", element_text(element)),
            None => format!("add {} elements to {set}", elements.len()),
        },
        Operation::DeleteElements(set, elements) => match element.and_then(|index| elements.iter().nth(index)) {
            Some(element) => format!("delete element {} from {set}", element_text(element)),
            None => format!("delete {} elements from {set}", elements.len()),
        },
    }
}

fn element_text((key, verdict): (&Key, &Option<Verdict>)) -> String {
    match verdict {
        Some(verdict) => format!("{key} : {verdict}"),
        None => key.to_string(),
    }
}

/// What an error number of `nf_tables` means.
fn meaning(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => "ENOENT, it or what it names does not exist",
        Errno::EXIST => "EEXIST, it exists already",
        Errno::BUSY => "EBUSY, it is in use, or exists with another value",
        Errno::NFILE => "ENFILE, the set is full",
        Errno::NOMEM => "ENOMEM, the kernel has no memory for it",
        Errno::MLINK => "EMLINK, chains are nested too deeply",
        Errno::LOOP => "ELOOP, chains form a loop",
        Errno::OPNOTSUPP => "EOPNOTSUPP, this kernel cannot do it",
        Errno::INVAL => "EINVAL, the kernel does not understand it",
        _ => "the kernel refused",
    }
}
