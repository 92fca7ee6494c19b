//! Puts a graph together again: nodes that stay, and between them programs on bytes.
//!
//! Every operation and every node that stays has a stage. A node has the stage of its latest input; an operation has
//! that of its latest picture, or one more than a tensor that enters. All operations of a stage are one region. No path
//! leads from a region through other nodes back into it, since the stage only grows where a tensor enters.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_hir::internal::{
    DatumExt, DatumType, DatumTypeExt, OutletId, SpecialOps, Tensor, TractResult, TypedFact, TypedModel, format_err,
    tvec,
};

use super::kept::KeptDequantise;
use super::program::{Operand, Operation, Picture, Program, Target, Wire, Work};
use super::read::{Demand, Reader};
use super::region::Region;
use super::small::Order;
use super::tensor::Quantisation;

/// A graph with regions, and what they weigh.
pub(super) struct Assembled {
    pub(super) model: TypedModel,
    pub(super) weight_bytes: usize,
    pub(super) arena_bytes: usize,
}

/// Builds the new graph. The inner error says why the operations cannot be a program.
pub(super) fn assemble(model: &TypedModel, reader: &Reader, demand: &Demand) -> TractResult<Result<Assembled, String>> {
    let order = model.eval_order()?;
    let stages = Stages::new(model, &order, reader, demand);
    let mut target =
        TypedModel { symbols: model.symbols.clone(), properties: model.properties.clone(), ..TypedModel::default() };
    let mut assembly = Assembly { model, wires: HashMap::new(), target: &mut target };
    for input in &model.inputs {
        let wire = assembly.target.add_source(&*model.nodes()[input.node].name, assembly.fact(*input).clone())?;
        assembly.wires.insert(Wire::Outlet(*input), wire);
    }
    let constants = constants(model, reader, demand);
    for node in order.iter().filter(|node| constants.contains(node)) {
        assembly.wire_node(*node)?;
    }
    let (mut weight_bytes, mut arena_bytes) = (0, 0);
    let mut by_stage: BTreeMap<usize, (Vec<&Operation>, Vec<usize>)> = BTreeMap::new();
    for (operation, stage) in demand.operations.iter().zip(&stages.operations) {
        by_stage.entry(*stage).or_default().0.push(operation);
    }
    for node in &order {
        if let Some(stage) = stages.nodes.get(node) {
            by_stage.entry(*stage).or_default().1.push(*node);
        }
    }
    for (stage, (operations, nodes)) in by_stage {
        match region(reader, &stages, stage, &operations) {
            Err(reason) => return Ok(Err(reason)),
            Ok(None) => {}
            Ok(Some(region)) => {
                weight_bytes += region.program.weight_bytes();
                arena_bytes += region.program.arena_bytes();
                assembly.wire_region(stage, region, demand)?;
            }
        }
        for node in nodes {
            assembly.wire_node(node)?;
        }
    }
    let outputs = model.outputs.iter().map(|outlet| assembly.wire(*outlet)).collect::<TractResult<Vec<_>>>()?;
    target.select_output_outlets(&outputs)?;
    for (outlet, new) in model.outputs.iter().zip(&outputs) {
        if let Some(label) = model.outlet_label(*outlet) {
            target.set_outlet_label(*new, label.to_owned())?;
        }
    }
    Ok(Ok(Assembled { model: target, weight_bytes, arena_bytes }))
}

/// The constant nodes that nodes that stay need, and what those need.
fn constants(model: &TypedModel, reader: &Reader, demand: &Demand) -> HashSet<usize> {
    let inputs = |node: usize| model.nodes()[node].inputs.iter().map(|input| input.node);
    let outputs = model.outputs.iter().map(|outlet| outlet.node);
    let mut needed: Vec<usize> = demand.kept.iter().flat_map(|node| inputs(*node)).chain(outputs).collect();
    let mut found = HashSet::new();
    while let Some(node) = needed.pop() {
        if reader.is_constant(node) && found.insert(node) && folded(model, node).is_none() {
            needed.extend(inputs(node));
        }
    }
    found
}

/// The bytes of a node that dequantises a constant, or the value that a node has in any case.
fn folded(model: &TypedModel, node: usize) -> Option<&Arc<Tensor>> {
    let konst = |outlet: OutletId| model.nodes()[outlet.node].outputs[outlet.slot].fact.konst.as_ref();
    let node = &model.nodes()[node];
    if node.op.is::<KeptDequantise>() {
        return konst(*node.inputs.first()?);
    }
    if node.outputs.len() == 1 { konst(OutletId::new(node.id, 0)) } else { None }
}

struct Stages {
    /// By node that stays.
    nodes: HashMap<usize, usize>,
    /// By operation.
    operations: Vec<usize>,
    /// By picture.
    pictures: HashMap<usize, usize>,
    /// By picture: the last stage that reads it.
    last_read: HashMap<usize, usize>,
}

impl Stages {
    fn new(model: &TypedModel, order: &[usize], reader: &Reader, demand: &Demand) -> Self {
        let mut stages =
            Self { nodes: HashMap::new(), operations: Vec::new(), pictures: HashMap::new(), last_read: HashMap::new() };
        // Of tensors that operations make.
        let mut made: HashMap<OutletId, usize> = HashMap::new();
        let mut operations = demand.operations.iter().peekable();
        for (time, node) in order.iter().enumerate() {
            while let Some(operation) = operations.next_if(|operation| operation.time <= time) {
                stages.operation(operation, &mut made);
            }
            if demand.kept.contains(node) {
                let inputs = model.nodes()[*node].inputs.iter().filter(|input| !reader.is_constant(input.node));
                let of =
                    |input: &OutletId| made.get(input).or_else(|| stages.nodes.get(&input.node)).copied().unwrap_or(0);
                let stage = inputs.map(of).max().unwrap_or(0);
                stages.nodes.insert(*node, stage);
            }
        }
        for operation in operations {
            stages.operation(operation, &mut made);
        }
        stages
    }

    fn operation(&mut self, operation: &Operation, made: &mut HashMap<OutletId, usize>) {
        let entered = match operation.from() {
            Some(Wire::Outlet(outlet)) => {
                1 + made.get(&outlet).or_else(|| self.nodes.get(&outlet.node)).copied().unwrap_or(0)
            }
            Some(Wire::Crossing(_)) | None => 0,
        };
        let read = operation.reads.iter().filter_map(|x| self.pictures.get(&x.picture)).copied().max().unwrap_or(0);
        let stage = entered.max(read);
        for x in &operation.reads {
            let last = self.last_read.entry(x.picture).or_default();
            *last = stage.max(*last);
        }
        match operation.target {
            Target::Picture(picture) => {
                self.pictures.insert(picture, stage);
            }
            Target::Wire(Wire::Outlet(outlet)) => {
                made.insert(outlet, stage);
            }
            Target::Wire(Wire::Crossing(_)) => {}
        }
        self.operations.push(stage);
    }
}

/// A program and the tensors around it.
struct Planned {
    program: Program,
    inputs: Vec<Wire>,
    /// With the length of a crossing picture.
    outputs: Vec<(Wire, usize)>,
}

/// The operations of one stage as a program, its pictures numbered anew.
fn region(
    reader: &Reader,
    stages: &Stages,
    stage: usize,
    operations: &[&Operation],
) -> Result<Option<Planned>, String> {
    let mut making =
        Making { all: reader.pictures(), pictures: Vec::new(), numbers: HashMap::new(), operations: Vec::new() };
    let (mut inputs, mut outputs, mut leaving) = (Vec::new(), Vec::new(), Vec::new());
    for operation in operations {
        for x in &operation.reads {
            if stages.pictures.get(&x.picture) != Some(&stage) && !making.numbers.contains_key(&x.picture) {
                inputs.push(Wire::Crossing(x.picture));
                making.load(x.picture);
            }
        }
        if let Some(from) = operation.from().filter(|from| !inputs.contains(from)) {
            inputs.push(from);
        }
        match operation.target {
            Target::Wire(wire) => outputs.push((wire, 0)),
            Target::Picture(picture) if stages.last_read.get(&picture).is_some_and(|last| *last > stage) => {
                leaving.push(picture);
            }
            Target::Picture(_) => {}
        }
        making.add(operation)?;
    }
    for picture in leaving {
        outputs.push((Wire::Crossing(picture), making.all[picture].len()));
        making.store(picture)?;
    }
    if making.operations.is_empty() {
        return Ok(None);
    }
    let wires: Vec<Wire> = outputs.iter().map(|(wire, _)| *wire).collect();
    let program = Program::new(making.pictures, making.operations, &inputs, &wires)?;
    Ok(Some(Planned { program, inputs, outputs }))
}

struct Making<'a> {
    all: &'a [Picture],
    pictures: Vec<Picture>,
    /// From the number of a picture in the graph to that in the program.
    numbers: HashMap<usize, usize>,
    operations: Vec<Operation>,
}

impl Making<'_> {
    fn number(&mut self, picture: usize) -> usize {
        *self.numbers.entry(picture).or_insert_with(|| {
            self.pictures.push(self.all[picture]);
            self.pictures.len() - 1
        })
    }

    /// A picture of an earlier region.
    fn load(&mut self, picture: usize) {
        let work = Work::Load { from: Wire::Crossing(picture), order: Order::Nhwc, signed: false };
        let target = Target::Picture(self.number(picture));
        self.operations.push(Operation { work, reads: vec![], target, time: 0 });
    }

    /// A picture for a later region.
    fn store(&mut self, picture: usize) -> Result<(), String> {
        let channels = self.all[picture].channels;
        let quantisation = Quantisation { scale: 1.0, zero_point: 0 };
        let work = Work::Store { order: Order::Nhwc, signed: false };
        let reads = vec![Operand { picture, first: 0, channels, quantisation }];
        self.add(&Operation { work, reads, target: Target::Wire(Wire::Crossing(picture)), time: 0 })
    }

    fn add(&mut self, operation: &Operation) -> Result<(), String> {
        let mut operation = operation.clone();
        for x in &mut operation.reads {
            x.picture = *self.numbers.get(&x.picture).ok_or("a picture is read before it is made")?;
        }
        if let Target::Picture(picture) = &mut operation.target {
            *picture = self.number(*picture);
        }
        self.operations.push(operation);
        Ok(())
    }
}

struct Assembly<'a> {
    model: &'a TypedModel,
    wires: HashMap<Wire, OutletId>,
    target: &'a mut TypedModel,
}

impl Assembly<'_> {
    fn fact(&self, outlet: OutletId) -> &TypedFact {
        &self.model.nodes()[outlet.node].outputs[outlet.slot].fact
    }

    /// A tensor in the new graph.
    fn wire(&self, outlet: OutletId) -> TractResult<OutletId> {
        let name = &self.model.nodes()[outlet.node].name;
        self.wires.get(&Wire::Outlet(outlet)).copied().ok_or_else(|| format_err!("`{name}` is read before it is made"))
    }

    fn wire_node(&mut self, at: usize) -> TractResult<()> {
        let node = &self.model.nodes()[at];
        if self.wires.contains_key(&Wire::Outlet(OutletId::new(at, 0))) {
            return Ok(());
        }
        let made = match (folded(self.model, at), node.op.downcast_ref::<KeptDequantise>()) {
            (Some(bytes), Some(op)) => tvec!(self.target.add_const(&*node.name, op.parameters.dequantised(bytes)?)?),
            (Some(folded), None) => tvec!(self.target.add_const(&*node.name, Arc::clone(folded))?),
            (None, _) => {
                let inputs = node.inputs.iter().map(|input| self.wire(*input)).collect::<TractResult<Vec<_>>>()?;
                self.target.wire_node(&*node.name, node.op.clone(), &inputs)?
            }
        };
        for (slot, wire) in made.into_iter().enumerate() {
            self.wires.insert(Wire::Outlet(OutletId::new(at, slot)), wire);
        }
        Ok(())
    }

    fn wire_region(&mut self, stage: usize, planned: Planned, demand: &Demand) -> TractResult<()> {
        let mut inputs = Vec::with_capacity(planned.inputs.len());
        for wire in &planned.inputs {
            inputs.push(match wire {
                Wire::Outlet(outlet) => self.wire(*outlet)?,
                crossing @ Wire::Crossing(_) => {
                    *self.wires.get(crossing).ok_or_else(|| format_err!("a region before its input"))?
                }
            });
        }
        let turned =
            |outlet: OutletId| demand.floats.iter().find(|float| float.outlet == outlet).and_then(|float| float.turned);
        let mut facts = Vec::with_capacity(planned.outputs.len());
        for (wire, length) in &planned.outputs {
            facts.push(match wire {
                Wire::Crossing(_) => DatumType::U8.fact([1, *length]),
                Wire::Outlet(outlet) => match turned(*outlet) {
                    Some(sides) => f32::fact(sides),
                    None => self.fact(*outlet).without_value(),
                },
            });
        }
        let expected = inputs
            .iter()
            .map(|wire| Ok(self.target.outlet_fact(*wire)?.without_value()))
            .collect::<TractResult<_>>()?;
        let region = Region::new(planned.program, expected, facts);
        let made = self.target.wire_node(format!("int8.region.{stage}"), region, &inputs)?;
        for ((wire, _), mut new) in planned.outputs.into_iter().zip(made) {
            if let Wire::Outlet(outlet) = wire
                && let Some([columns, rows]) = turned(outlet)
            {
                let name = format!("{}.rows", self.model.nodes()[outlet.node].name);
                new = self.target.wire_node(&name, AxisOp::Move(0, 1), &[new])?[0];
                let from = tvec!(rows.into(), columns.into());
                let to = self.fact(outlet).shape.iter().cloned().collect();
                new = self.target.wire_node(format!("{name}.shape"), AxisOp::Reshape(0, from, to), &[new])?[0];
            }
            self.wires.insert(wire, new);
        }
        Ok(())
    }
}
