//! Operations to one atomic batch of messages, and from an answer back to the operation it is about.

use super::attributes::{Attributes, Writer};
use super::data::{key_bytes, key_type_number, successor, write_key, write_verdict};
use super::expressions::{Expression, write_zeros};
use super::message::{self, ATTRIBUTES_AT};
use super::numbers as n;
use super::statements;
use crate::ruleset::{
    Comment, Elements, Field, Hook, Key, Lookup, Name, Rule, SetDefinition, Statement, Table, Value, ValueType, Verdict,
};
use crate::transaction::Operation;

/// How many bytes of elements go into one message: well below the 64 KiB of an attribute, and small enough that
/// even a small socket buffer takes several.
pub(crate) const ELEMENT_BYTES_MAX: usize = 16 * 1024;

/// A batch, complete but for its sequence numbers and the generation it expects.
#[derive(Debug)]
pub(crate) struct Batch {
    table: Table,
    bytes: Vec<u8>,
    /// Where each message between begin and end starts, and the number of its operation.
    messages: Vec<(usize, usize)>,
    sets: u32,
}

/// An operation has a statement that this product cannot write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unwritable(pub(crate) usize);

impl Batch {
    /// The operations in one batch. `first` is the number of the first of them.
    pub(crate) fn whole(table: Table, operations: &[Operation], first: usize) -> Result<Batch, Unwritable> {
        let mut batch = Batch::empty(table);
        for (index, operation) in operations.iter().enumerate() {
            batch.write(operation, first + index, &mut |_| {})?;
        }
        batch.finish();
        Ok(batch)
    }

    /// The operations in batches of at most `bytes_max` bytes each, as far as no single message is bigger.
    pub(crate) fn pieces(table: Table, operations: &[Operation], bytes_max: usize) -> Result<Vec<Batch>, Unwritable> {
        let mut pieces = Vec::new();
        let mut batch = Batch::empty(table);
        let mut cut = |batch: &mut Batch| {
            if batch.bytes.len() >= bytes_max {
                pieces.push(std::mem::replace(batch, Batch::empty(table)));
            }
        };
        for (index, operation) in operations.iter().enumerate() {
            batch.write(operation, index, &mut cut)?;
        }
        if !batch.messages.is_empty() {
            pieces.push(batch);
        }
        pieces.iter_mut().for_each(Batch::finish);
        Ok(pieces)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes in what is known only when the batch is sent. The begin message gets the sequence number `first`,
    /// the others the next ones; the result is the last, which the kernel acknowledges when all is committed.
    pub(crate) fn prepare(&mut self, first: u32, generation: u32) -> u32 {
        message::set_sequence(&mut self.bytes, 0, first);
        let generation_at = ATTRIBUTES_AT + 4;
        self.bytes[generation_at..generation_at + 4].copy_from_slice(&generation.to_be_bytes());
        let mut sequence = first;
        for (start, _) in &self.messages {
            sequence = sequence.wrapping_add(1);
            message::set_sequence(&mut self.bytes, *start, sequence);
        }
        sequence
    }

    /// The number of the operation that a message belongs to, by its distance from the begin message.
    pub(crate) fn operation(&self, message: u32) -> Option<usize> {
        let index = (message as usize).checked_sub(1)?;
        self.messages.get(index).map(|(_, operation)| *operation)
    }

    /// Which element of its operation a message is refused for, by the offset of the attribute in the message.
    /// A range in an interval set is one or two attributes; its number is that of the start.
    pub(crate) fn element(&self, message: u32, offset: usize) -> Option<usize> {
        let index = (message as usize).checked_sub(1)?;
        let (start, operation) = *self.messages.get(index)?;
        let before: usize = self.messages[..index]
            .iter()
            .filter(|(_, other)| *other == operation)
            .filter_map(|(start, _)| self.starts(*start).map(|starts| starts.len()))
            .sum();
        let within = self.starts(start)?.iter().filter(|at| **at <= start + offset).count().checked_sub(1)?;
        Some(before + within)
    }

    /// Where the elements of a message begin that are not the ends of intervals.
    fn starts(&self, message: usize) -> Option<Vec<usize>> {
        let length = u32::from_ne_bytes(self.bytes.get(message..message + 4)?.try_into().ok()?) as usize;
        let attributes = Attributes(self.bytes.get(message + ATTRIBUTES_AT..message + length)?);
        let list = attributes.find(n::NFTA_SET_ELEM_LIST_ELEMENTS)?;
        let mut at = list.value.as_ptr() as usize - self.bytes.as_ptr() as usize;
        let mut starts = Vec::new();
        for element in list.nested() {
            let flags = element.nested().find_number(n::NFTA_SET_ELEM_FLAGS).unwrap_or(0);
            if flags & n::NFT_SET_ELEM_INTERVAL_END == 0 {
                starts.push(at);
            }
            at += 4 + element.value.len().next_multiple_of(4);
        }
        Some(starts)
    }

    fn empty(table: Table) -> Batch {
        let mut bytes = Vec::with_capacity(4096);
        let start =
            message::begin(&mut bytes, n::NFNL_MSG_BATCH_BEGIN, 0, 0, n::NFPROTO_UNSPEC, n::NFNL_SUBSYS_NFTABLES);
        Writer(&mut bytes).number(n::NFNL_BATCH_GENID, 0);
        message::end(&mut bytes, start);
        Batch { table, bytes, messages: Vec::new(), sets: 0 }
    }

    fn finish(&mut self) {
        if let Some((last, _)) = self.messages.last() {
            message::add_flags(&mut self.bytes, *last, n::NLM_F_ACK);
        }
        let start =
            message::begin(&mut self.bytes, n::NFNL_MSG_BATCH_END, 0, 0, n::NFPROTO_UNSPEC, n::NFNL_SUBSYS_NFTABLES);
        message::end(&mut self.bytes, start);
    }

    /// Appends the messages of an operation; `cut` is called wherever a batch may end.
    fn write(
        &mut self,
        operation: &Operation,
        number: usize,
        cut: &mut impl FnMut(&mut Batch),
    ) -> Result<(), Unwritable> {
        let create = n::NLM_F_CREATE | n::NLM_F_EXCL;
        let table = self.table;
        match operation {
            Operation::AddTable(comment) => self.message(number, n::NFT_MSG_NEWTABLE, create, |writer| {
                writer.string(n::NFTA_TABLE_NAME, table.name());
                writer.number(n::NFTA_TABLE_FLAGS, 0);
                write_comment(writer, n::NFTA_TABLE_USERDATA, n::NFTNL_UDATA_TABLE_COMMENT, comment.as_ref());
            }),
            Operation::DeleteTable => self.message(number, n::NFT_MSG_DELTABLE, 0, |writer| {
                writer.string(n::NFTA_TABLE_NAME, table.name());
            }),
            Operation::AddChain(name, hook, comment) => self.message(number, n::NFT_MSG_NEWCHAIN, create, |writer| {
                write_chain(writer, table, name, *hook, comment.as_ref());
            }),
            Operation::DeleteChain(name) => self.message(number, n::NFT_MSG_DELCHAIN, 0, |writer| {
                writer.string(n::NFTA_CHAIN_TABLE, table.name());
                writer.string(n::NFTA_CHAIN_NAME, name);
            }),
            Operation::FlushChain(name) => self.message(number, n::NFT_MSG_DELRULE, 0, |writer| {
                writer.string(n::NFTA_RULE_TABLE, table.name());
                writer.string(n::NFTA_RULE_CHAIN, name);
            }),
            Operation::AddRule(chain, rule) => self.add_rule(number, chain, rule)?,
            Operation::AddSet(name, definition) => {
                self.add_set(number, name, definition, None);
            }
            Operation::AddCounter(name, comment) => self.message(number, n::NFT_MSG_NEWOBJ, create, |writer| {
                write_counter(writer, table, name);
                let data = writer.begin(n::NFTA_OBJ_DATA);
                write_zeros(writer);
                writer.end(data);
                write_comment(writer, n::NFTA_OBJ_USERDATA, n::NFTNL_UDATA_OBJ_COMMENT, comment.as_ref());
            }),
            Operation::DeleteCounter(name) => {
                self.message(number, n::NFT_MSG_DELOBJ, 0, |writer| write_counter(writer, table, name));
            }
            Operation::DeleteSet(name) => self.message(number, n::NFT_MSG_DELSET, 0, |writer| {
                writer.string(n::NFTA_SET_TABLE, table.name());
                writer.string(n::NFTA_SET_NAME, name);
            }),
            Operation::FlushSet(name) => self.message(number, n::NFT_MSG_DELSETELEM, 0, |writer| {
                writer.string(n::NFTA_SET_ELEM_LIST_TABLE, table.name());
                writer.string(n::NFTA_SET_ELEM_LIST_SET, name);
            }),
            Operation::AddElements(name, elements) => {
                self.elements(number, n::NFT_MSG_NEWSETELEM, (name, None), elements, cut);
            }
            Operation::DeleteElements(name, elements) => {
                self.elements(number, n::NFT_MSG_DELSETELEM, (name, None), elements, cut);
            }
        }
        cut(self);
        Ok(())
    }

    fn message(&mut self, operation: usize, kind: u16, flags: u16, write: impl FnOnce(&mut Writer<'_>)) {
        let kind = message::nf_tables(kind);
        let start = message::begin(&mut self.bytes, kind, flags, 0, message::family(self.table), 0);
        self.messages.push((start, operation));
        write(&mut Writer(&mut self.bytes));
        message::end(&mut self.bytes, start);
    }

    fn add_rule(&mut self, number: usize, chain: &Name, rule: &Rule) -> Result<(), Unwritable> {
        let expressions = statements::expressions(self.table, rule).ok_or(Unwritable(number))?;
        let mut literals = Vec::new();
        for statement in rule {
            if let Statement::In(fields, Lookup::Literal(elements))
            | Statement::VerdictMap(fields, Lookup::Literal(elements)) = statement
            {
                let verdicts = matches!(statement, Statement::VerdictMap(..));
                literals.push(self.add_literal(number, fields, verdicts, elements));
            }
        }
        let mut literals = literals.into_iter();
        let table = self.table;
        self.message(number, n::NFT_MSG_NEWRULE, n::NLM_F_CREATE | n::NLM_F_APPEND, |writer| {
            writer.string(n::NFTA_RULE_TABLE, table.name());
            writer.string(n::NFTA_RULE_CHAIN, chain);
            let list = writer.begin(n::NFTA_RULE_EXPRESSIONS);
            for expression in &expressions {
                let literal = match expression {
                    Expression::Lookup { set: Lookup::Literal(_), .. } => literals.next(),
                    _ => None,
                };
                expression.write(writer, literal);
            }
            writer.end(list);
        });
        Ok(())
    }

    /// Creates the anonymous set of a literal; the kernel makes a name from the pattern and finds it by the id.
    fn add_literal(
        &mut self,
        number: usize,
        fields: &[Field],
        verdicts: bool,
        elements: &Elements,
    ) -> (&'static str, u32) {
        let pattern = if verdicts { "__map%d" } else { "__set%d" };
        let key: Vec<ValueType> = fields.iter().map(|field| field.value_type()).collect();
        let definition = SetDefinition { comment: None, key, verdicts, interval: false, dynamic: None };
        let id = self.add_set(number, pattern, &definition, Some(elements.len()));
        self.elements(number, n::NFT_MSG_NEWSETELEM, (pattern, Some(id)), elements, &mut |_| {});
        (pattern, id)
    }

    /// Creates a set, an anonymous constant one if its size is given.
    fn add_set(&mut self, number: usize, name: &str, definition: &SetDefinition, anonymous: Option<usize>) -> u32 {
        self.sets += 1;
        let (table, id) = (self.table, self.sets);
        let mut flags = 0;
        flags |= if anonymous.is_some() { n::NFT_SET_ANONYMOUS | n::NFT_SET_CONSTANT } else { 0 };
        flags |= if definition.interval { n::NFT_SET_INTERVAL } else { 0 };
        flags |= if definition.verdicts { n::NFT_SET_MAP } else { 0 };
        flags |= if definition.dynamic.is_some() { n::NFT_SET_EVAL | n::NFT_SET_TIMEOUT } else { 0 };
        let size = definition.dynamic.map(|dynamic| dynamic.size).or(anonymous.map(number_of));
        self.message(number, n::NFT_MSG_NEWSET, n::NLM_F_CREATE | n::NLM_F_EXCL, |writer| {
            writer.string(n::NFTA_SET_TABLE, table.name());
            writer.string(n::NFTA_SET_NAME, name);
            writer.number(n::NFTA_SET_FLAGS, flags);
            writer.number(n::NFTA_SET_KEY_TYPE, key_type_number(&definition.key));
            writer.number(n::NFTA_SET_KEY_LEN, number_of(key_bytes(&definition.key)));
            if definition.verdicts {
                writer.number(n::NFTA_SET_DATA_TYPE, n::NFT_DATA_VERDICT);
                writer.number(n::NFTA_SET_DATA_LEN, 0);
            }
            writer.number(n::NFTA_SET_ID, id);
            if let Some(size) = size {
                let description = writer.begin(n::NFTA_SET_DESC);
                writer.number(n::NFTA_SET_DESC_SIZE, size);
                writer.end(description);
            }
            if let Some(dynamic) = definition.dynamic {
                writer.long_number(n::NFTA_SET_TIMEOUT, u64::from(dynamic.timeout_seconds) * 1000);
            }
            writer.bytes(n::NFTA_SET_USERDATA, &set_user_data(definition));
        });
        id
    }

    /// Adds or deletes elements, in as many messages as they need.
    fn elements(
        &mut self,
        number: usize,
        kind: u16,
        (set, id): (&str, Option<u32>),
        elements: &Elements,
        cut: &mut impl FnMut(&mut Batch),
    ) {
        let with_verdicts = kind == n::NFT_MSG_NEWSETELEM;
        let flags = if with_verdicts { n::NLM_F_CREATE } else { 0 };
        let mut rest = elements.iter().peekable();
        let table = self.table;
        while rest.peek().is_some() {
            self.message(number, kind, flags, |writer| {
                writer.string(n::NFTA_SET_ELEM_LIST_TABLE, table.name());
                writer.string(n::NFTA_SET_ELEM_LIST_SET, set);
                if let Some(id) = id {
                    writer.number(n::NFTA_SET_ELEM_LIST_SET_ID, id);
                }
                let bytes_before = writer.0.len();
                let list = writer.begin(n::NFTA_SET_ELEM_LIST_ELEMENTS);
                while writer.0.len() - bytes_before < ELEMENT_BYTES_MAX {
                    let Some((key, verdict)) = rest.next() else { break };
                    write_element(writer, key, verdict.as_ref().filter(|_| with_verdicts));
                }
                writer.end(list);
            });
            cut(self);
        }
    }
}

/// An element with its verdict, if it has one; of a range two.
pub(crate) fn write_element(writer: &mut Writer<'_>, key: &Key, verdict: Option<&Verdict>) {
    let (values, end): (&[Value], Option<Value>) = match key {
        Key::Single(value) => (std::slice::from_ref(value), None),
        Key::Concat(values) => (values, None),
        // An interval ends where the next could begin; one that reaches to the top has no end.
        Key::Range(first, last) => (std::slice::from_ref(first), successor(*last)),
    };
    let element = writer.begin(n::NFTA_LIST_ELEM);
    write_key(writer, n::NFTA_SET_ELEM_KEY, values);
    if let Some(verdict) = verdict {
        write_verdict(writer, n::NFTA_SET_ELEM_DATA, verdict);
    }
    writer.end(element);
    if let Some(end) = end {
        let element = writer.begin(n::NFTA_LIST_ELEM);
        writer.number(n::NFTA_SET_ELEM_FLAGS, n::NFT_SET_ELEM_INTERVAL_END);
        write_key(writer, n::NFTA_SET_ELEM_KEY, &[end]);
        writer.end(element);
    }
}

fn write_chain(writer: &mut Writer<'_>, table: Table, name: &Name, hook: Option<Hook>, comment: Option<&Comment>) {
    writer.string(n::NFTA_CHAIN_TABLE, table.name());
    writer.string(n::NFTA_CHAIN_NAME, name);
    if let Some(hook) = hook {
        let (number, priority) = message::hook(hook);
        let open = writer.begin(n::NFTA_CHAIN_HOOK);
        writer.number(n::NFTA_HOOK_HOOKNUM, number);
        writer.number(n::NFTA_HOOK_PRIORITY, priority);
        writer.end(open);
        writer.number(n::NFTA_CHAIN_POLICY, n::NF_ACCEPT.cast_unsigned());
        writer.string(n::NFTA_CHAIN_TYPE, "filter");
    }
    write_comment(writer, n::NFTA_CHAIN_USERDATA, n::NFTNL_UDATA_CHAIN_COMMENT, comment);
}

fn write_counter(writer: &mut Writer<'_>, table: Table, name: &Name) {
    writer.string(n::NFTA_OBJ_TABLE, table.name());
    writer.string(n::NFTA_OBJ_NAME, name);
    writer.number(n::NFTA_OBJ_TYPE, n::NFT_OBJECT_COUNTER);
}

fn write_comment(writer: &mut Writer<'_>, attribute: u16, kind: u8, comment: Option<&Comment>) {
    if let Some(comment) = comment {
        let mut data = Vec::new();
        push_comment(&mut data, kind, comment);
        writer.bytes(attribute, &data);
    }
}

/// What nft needs to print keys and verdicts in the right byte order, and the comment.
fn set_user_data(definition: &SetDefinition) -> Vec<u8> {
    let mut data = Vec::new();
    let mut push_number = |kind: u8, value: u32| {
        data.extend_from_slice(&[kind, 4]);
        data.extend_from_slice(&value.to_ne_bytes());
    };
    let key_order = match definition.key.as_slice() {
        [single] => single.byte_order(),
        _ => 0,
    };
    push_number(n::NFTNL_UDATA_SET_KEYBYTEORDER, key_order);
    if definition.verdicts {
        push_number(n::NFTNL_UDATA_SET_DATABYTEORDER, 0);
    }
    if let Some(comment) = &definition.comment {
        push_comment(&mut data, n::NFTNL_UDATA_SET_COMMENT, comment);
    }
    data
}

fn push_comment(data: &mut Vec<u8>, kind: u8, comment: &Comment) {
    let text = comment.as_str().as_bytes();
    // A comment is at most Comment::BYTES_MAX bytes long.
    data.extend_from_slice(&[kind, u8::try_from(text.len() + 1).unwrap_or(u8::MAX)]);
    data.extend_from_slice(text);
    data.push(0);
}

fn number_of(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
