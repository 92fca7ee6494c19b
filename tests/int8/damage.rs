//! One change to a graph, as a careless exporter or an attacker would make it.

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

/// Numbers that depend on the seed alone.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

pub(crate) fn damage(model: &mut ModelProto, random: &mut Random) {
    let graph = model.graph.as_mut().expect("a graph");
    match random.below(8) {
        0 => scale(graph, random),
        1 => zero_point(graph, random),
        2 => attribute(graph, random),
        3 => shape(graph, random),
        4 => rewire(graph, random),
        5 => drop_input(graph, random),
        6 => axis(graph, random),
        _ => bytes(graph, random),
    }
}

fn tensor<'g>(
    graph: &'g mut GraphProto,
    random: &mut Random,
    suits: impl Fn(&TensorProto) -> bool,
) -> Option<&'g mut TensorProto> {
    let mut found: Vec<&mut TensorProto> = graph.initializer.iter_mut().filter(|tensor| suits(tensor)).collect();
    let at = random.below(found.len());
    (at < found.len()).then(|| found.swap_remove(at))
}

fn node<'g>(graph: &'g mut GraphProto, random: &mut Random) -> &'g mut NodeProto {
    let at = random.below(graph.node.len());
    &mut graph.node[at]
}

/// A scale that cannot be one.
fn scale(graph: &mut GraphProto, random: &mut Random) {
    let value = random.of(&[0.0, f32::NAN, f32::INFINITY, -1.0, f32::MIN_POSITIVE / 4.0, f32::MAX, 1e-30, 1e30]);
    if let Some(tensor) = tensor(graph, random, |tensor| tensor.name.contains("scale")) {
        if tensor.raw_data.len() >= 4 {
            let at = 4 * random.below(tensor.raw_data.len() / 4);
            tensor.raw_data[at..at + 4].copy_from_slice(&value.to_le_bytes());
        } else if let Some(first) = tensor.float_data.first_mut() {
            *first = value;
        }
    }
}

/// Another zero point, or more or fewer of them.
fn zero_point(graph: &mut GraphProto, random: &mut Random) {
    if let Some(tensor) = tensor(graph, random, |tensor| tensor.name.contains("zero_point")) {
        match random.below(3) {
            0 => tensor.raw_data.iter_mut().for_each(|byte| *byte = byte.wrapping_add(77)),
            1 => {
                tensor.dims = vec![3];
                tensor.raw_data = vec![1; 3];
            }
            _ => {
                tensor.dims = vec![0];
                tensor.raw_data.clear();
            }
        }
    }
}

/// Strides, pads, kernels, groups: 0, negative, huge.
fn attribute(graph: &mut GraphProto, random: &mut Random) {
    let value = random.of(&[0, -1, 2, 3, 7, 65_535, 1 << 20, 1 << 40, i64::MAX, i64::MIN]);
    // `tract` never ends on a `perm` that is no permutation, before anything is rewritten; `model` refuses it.
    let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    let mut attributes: Vec<_> = attributes.filter(|attribute| attribute.name != "perm").collect();
    let at = random.below(attributes.len());
    if let Some(attribute) = attributes.get_mut(at) {
        if attribute.ints.is_empty() {
            attribute.i = value;
        } else {
            let at = random.below(attribute.ints.len());
            attribute.ints[at] = value;
        }
    }
}

/// Dimensions that do not fit the data.
fn shape(graph: &mut GraphProto, random: &mut Random) {
    let value = random.of(&[0, 1, 2, 5, 1 << 33, i64::MAX, -3]);
    if let Some(tensor) = tensor(graph, random, |tensor| !tensor.dims.is_empty()) {
        let at = random.below(tensor.dims.len());
        match random.below(3) {
            0 => tensor.dims[at] = value,
            1 => tensor.dims.reverse(),
            _ => {
                let length = tensor.dims.iter().product();
                tensor.dims = vec![length];
            }
        }
    }
}

/// An input that is some other tensor of the graph.
fn rewire(graph: &mut GraphProto, random: &mut Random) {
    let names: Vec<String> = graph
        .node
        .iter()
        .flat_map(|node| node.output.clone())
        .chain(graph.initializer.iter().map(|tensor| tensor.name.clone()))
        .collect();
    let name = names[random.below(names.len())].clone();
    let node = node(graph, random);
    if !node.input.is_empty() {
        let at = random.below(node.input.len());
        node.input[at] = name;
    }
}

fn drop_input(graph: &mut GraphProto, random: &mut Random) {
    let node = node(graph, random);
    if random.below(2) == 0 {
        node.input.pop();
    } else if let Some(last) = node.input.last_mut() {
        last.clear();
    }
}

/// Another axis, or none.
fn axis(graph: &mut GraphProto, random: &mut Random) {
    let value = random.of(&[-5, -1, 0, 1, 2, 9, i64::MAX, i64::MIN]);
    let quantising =
        |node: &&mut NodeProto| node.op_type.contains("quantizeLinear") || node.op_type.contains("QuantizeLinear");
    let mut nodes: Vec<_> = graph.node.iter_mut().filter(quantising).collect();
    let at = random.below(nodes.len());
    if let Some(node) = nodes.get_mut(at) {
        match node.attribute.first_mut() {
            Some(attribute) => attribute.i = value,
            None => "DequantizeLinear".clone_into(&mut node.op_type),
        }
    }
}

/// Bytes of a tensor: others, or too few.
fn bytes(graph: &mut GraphProto, random: &mut Random) {
    if let Some(tensor) = tensor(graph, random, |tensor| !tensor.raw_data.is_empty()) {
        if random.below(2) == 0 {
            let keep = random.below(tensor.raw_data.len());
            tensor.raw_data.truncate(keep);
        } else {
            tensor.raw_data.fill(random.of(&[0, 127, 128, 255]));
        }
    }
}
