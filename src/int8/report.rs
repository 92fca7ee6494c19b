//! What became integer, what did not, and why.

use std::fmt;

/// One operator of the model.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// The node's name in the file, as `tract` continues it.
    pub name: String,
    /// What it computes, by `tract`'s name.
    pub operator: String,
    /// Whether it is computed on bytes.
    pub integer: bool,
    /// Why it stays in float; empty if it is integer.
    pub reason: String,
    /// Millions of multiply-accumulates: of convolutions and products, 0 of all else.
    pub mmac: f64,
    /// Of all multiply-accumulates of the model, from 0 to 1.
    pub share: f64,
}

/// What [`super::rewrite`] did with each operator. Printed, it is a table.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// In the order of evaluation. Constants and what only moves values in float are left out.
    pub rows: Vec<Row>,
    /// Bytes of the packed weights of the integer operators.
    pub weight_bytes: usize,
    /// Bytes of the buffers that the integer operators share, for each state of the model.
    pub arena_bytes: usize,
}

impl Report {
    /// Millions of multiply-accumulates on bytes.
    pub fn integer_mmac(&self) -> f64 {
        self.rows.iter().filter(|row| row.integer).map(|row| row.mmac).sum()
    }

    /// Millions of multiply-accumulates in float.
    pub fn float_mmac(&self) -> f64 {
        self.rows.iter().filter(|row| !row.integer).map(|row| row.mmac).sum()
    }

    /// Sets the shares from the rows' counts.
    pub(super) fn with_shares(mut self) -> Self {
        let total = self.integer_mmac() + self.float_mmac();
        for row in &mut self.rows {
            row.share = if total > 0.0 { row.mmac / total } else { 0.0 };
        }
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest =
            |width: fn(&Row) -> usize, least: usize| self.rows.iter().map(width).max().unwrap_or(0).max(least);
        let (names, operators) =
            (longest(|row| row.name.chars().count(), 4), longest(|row| row.operator.chars().count(), 8));
        writeln!(
            f,
            "{:<names$}  {:<operators$}  {:<5}  {:>9}  {:>6}  why float",
            "name", "operator", "on", "MMAC", "share"
        )?;
        for row in &self.rows {
            let on = if row.integer { "bytes" } else { "float" };
            let Row { name, operator, mmac, share, reason, .. } = row;
            let line =
                format!("{name:<names$}  {operator:<operators$}  {on}  {mmac:>9.3}  {:>5.1}%  {reason}", 100.0 * share);
            writeln!(f, "{}", line.trim_end())?;
        }
        let integer = self.rows.iter().filter(|row| row.integer).count();
        let (on_bytes, in_float) = (self.integer_mmac(), self.float_mmac());
        let share = if on_bytes + in_float > 0.0 { 100.0 * on_bytes / (on_bytes + in_float) } else { 0.0 };
        writeln!(
            f,
            "{integer} of {} operators on bytes; {on_bytes:.3} of {:.3} MMAC ({share:.1}%)",
            self.rows.len(),
            on_bytes + in_float
        )?;
        write!(f, "{} bytes of packed weights, {} bytes of buffers", self.weight_bytes, self.arena_bytes)
    }
}
