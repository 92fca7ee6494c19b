//! Graphs that are well-formed files and hostile in what they say.

use arbitrary::{Arbitrary, Result, Unstructured};
use prost::Message;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, type_proto,
};

// Codes of `TensorProto.DataType` and the bytes of one number.
const FLOAT: (i32, usize) = (1, 4);
const U8: (i32, usize) = (2, 1);
const S8: (i32, usize) = (3, 1);
const S32: (i32, usize) = (6, 4);
const S64: (i32, usize) = (7, 8);

const OPERATORS: &[&str] = &[
    "Conv",
    "Gemm",
    "MatMul",
    "Add",
    "Sub",
    "Mul",
    "Relu",
    "LeakyRelu",
    "Clip",
    "Sigmoid",
    "HardSigmoid",
    "Concat",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Resize",
    "Reshape",
    "Transpose",
    "Flatten",
    "Split",
    "Slice",
    "Pad",
    "Squeeze",
    "Unsqueeze",
    "Softmax",
    "ReduceMean",
    "QuantizeLinear",
    "DequantizeLinear",
    "QLinearConv",
    "QLinearAdd",
    "Gather",
    "Expand",
    "Tile",
    "ConstantOfShape",
    "Shape",
    "Range",
    "OneHot",
    "NonZero",
    "TopK",
    "CumSum",
    "Where",
    "Compress",
    "Trilu",
    "EyeLike",
    "ScatterND",
    "GatherND",
    "GridSample",
    "DepthToSpace",
    "SpaceToDepth",
    "ConvTranspose",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeLinear",
    "InstanceNormalization",
    "LRN",
    "Einsum",
    "GRU",
    "LSTM",
    "RNN",
    "HannWindow",
    "MelWeightMatrix",
    "DFT",
    "STFT",
    "RandomUniform",
    "RandomNormalLike",
    "Multinomial",
    "NonMaxSuppression",
    "QLinearMatMul",
    "If",
    "Loop",
    "Scan",
];

const ATTRIBUTES: &[&str] = &[
    "axis",
    "group",
    "kernel_shape",
    "pads",
    "strides",
    "dilations",
    "perm",
    "axes",
    "alpha",
    "beta",
    "transA",
    "transB",
    "keepdims",
    "ceil_mode",
    "count_include_pad",
    "auto_pad",
    "mode",
    "coordinate_transformation_mode",
    "nearest_mode",
    "split",
    "to",
    "block_size",
    "output_padding",
    "allowzero",
    "shape",
    "output_shape",
    "blocksize",
    "hidden_size",
    "direction",
    "equation",
    "size",
    "k",
    "sample_size",
    "value",
    "body",
];

const TEXTS: &[&str] =
    &["SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "nearest", "linear", "cubic", "asymmetric", "half_pixel", "floor"];

const EQUATIONS: &[&str] =
    &["nchw->nhwc", "nchw,nchw->n", "ij,jk->ik", "abcd->", "...ij,...jk->...ik", "nchw,ochw->no"];

const SCALES: &[f32] = &[0.01, 0.02, 0.1, 1.0, 0.0, -1.0, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 4.0, f32::MAX];

/// Mostly small, now and then absurd.
fn whole(u: &mut Unstructured) -> Result<i64> {
    Ok(match u.int_in_range(0..=15)? {
        0 => 0,
        1 => -1,
        2 => *u.choose(&[-2, -5, 7, 64, 255, 65_535, 65_536, 1 << 20, 1 << 32, 1 << 40, i64::MAX, i64::MIN])?,
        _ => u.int_in_range(1..=8)?,
    })
}

fn side(u: &mut Unstructured) -> Result<i64> {
    if u.ratio(1, 24)? { whole(u) } else { u.int_in_range(1..=9) }
}

fn many<T>(u: &mut Unstructured, most: usize, one: impl Fn(&mut Unstructured) -> Result<T>) -> Result<Vec<T>> {
    let count = u.int_in_range(0..=most)?;
    (0..count).map(|_| one(u)).collect()
}

/// A constant; its data fits its shape unless it is a hostile one.
fn tensor(u: &mut Unstructured, name: String, kind: (i32, usize), dims: Vec<i64>) -> Result<TensorProto> {
    let volume = dims.iter().try_fold(1_i64, |volume, side| volume.checked_mul(*side)).unwrap_or(i64::MAX);
    let volume = volume.clamp(0, 1 << 14) as usize;
    let mut raw_data = Vec::with_capacity(volume * kind.1);
    let seed = u8::arbitrary(u)?;
    for at in 0..volume {
        let byte = (at as u8).wrapping_mul(37) ^ seed;
        match kind {
            FLOAT => raw_data.extend(u.choose(SCALES).unwrap_or(&0.01).to_le_bytes()),
            S64 => raw_data.extend(whole(u).unwrap_or(1).to_le_bytes()),
            S32 => raw_data.extend(i32::from(byte as i8).to_le_bytes()),
            _ => raw_data.push(byte),
        }
    }
    if u.ratio(1, 40)? {
        raw_data.truncate(u.int_in_range(0..=raw_data.len())?);
    }
    Ok(TensorProto { name, dims, data_type: kind.0, raw_data, ..TensorProto::default() })
}

fn attribute(u: &mut Unstructured) -> Result<AttributeProto> {
    let name = (*u.choose(ATTRIBUTES)?).to_owned();
    let mut made = AttributeProto { name, ..AttributeProto::default() };
    let kind = match made.name.as_str() {
        "kernel_shape" | "pads" | "strides" | "dilations" | "perm" | "axes" | "split" | "output_padding" | "shape"
        | "output_shape" => {
            made.ints = many(u, 4, whole)?;
            // Often a sound one: the way to the code behind.
            if made.name == "perm" && u.ratio(3, 4)? {
                made.ints = vec![0, 2, 3, 1];
            }
            AttributeType::Ints
        }
        "auto_pad" | "mode" | "coordinate_transformation_mode" | "nearest_mode" => {
            made.s = u.choose(TEXTS)?.as_bytes().to_vec();
            AttributeType::String
        }
        "direction" | "equation" => {
            let texts = if made.name == "equation" { EQUATIONS } else { &["forward", "reverse", "bidirectional"] };
            made.s = u.choose(texts)?.as_bytes().to_vec();
            AttributeType::String
        }
        "value" => {
            let dims = many(u, 2, side)?;
            let kind = *u.choose(&[FLOAT, U8, S64])?;
            made.t = Some(tensor(u, String::new(), kind, dims)?);
            AttributeType::Tensor
        }
        "body" => {
            made.g = Some(GraphProto::default());
            AttributeType::Graph
        }
        "alpha" | "beta" => {
            made.f = *u.choose(SCALES)?;
            AttributeType::Float
        }
        _ => {
            made.i = whole(u)?;
            AttributeType::Int
        }
    };
    made.r#type = kind.into();
    Ok(made)
}

struct Builder {
    graph: GraphProto,
    /// Names of all that was made.
    wires: Vec<String>,
    channels: i64,
}

impl Builder {
    fn fresh(&mut self, what: &str) -> String {
        let name = format!("{what}_{}", self.wires.len());
        self.wires.push(name.clone());
        name
    }

    fn constant(&mut self, u: &mut Unstructured, what: &str, kind: (i32, usize), dims: Vec<i64>) -> Result<String> {
        let name = self.fresh(what);
        let made = tensor(u, name.clone(), kind, dims)?;
        self.graph.initializer.push(made);
        Ok(name)
    }

    fn node(&mut self, operator: &str, input: Vec<String>, attribute: Vec<AttributeProto>) -> String {
        let name = self.fresh(operator);
        let node =
            NodeProto { input, output: vec![name.clone()], op_type: operator.to_owned(), attribute, ..<_>::default() };
        self.graph.node.push(node);
        name
    }

    /// A wire that exists, mostly; else none, one of later (a loop), or one of nobody.
    fn wire(&self, u: &mut Unstructured, last: &str) -> Result<String> {
        Ok(match u.int_in_range(0..=19)? {
            0..=14 => last.to_owned(),
            15..=17 => u.choose(&self.wires)?.clone(),
            18 => format!("Conv_{}", self.wires.len() + u.int_in_range(0..=4_usize)?),
            _ => String::new(),
        })
    }

    /// Scale and zero point, of one number or one a channel, or of a wrong number of them.
    fn quantisation(&mut self, u: &mut Unstructured, kind: (i32, usize), outputs: i64) -> Result<[String; 2]> {
        let dims = if u.ratio(1, 2)? { vec![] } else { vec![outputs] };
        let other = if u.ratio(1, 16)? { many(u, 2, side)? } else { dims.clone() };
        let scale = self.fresh("scale");
        let sound = u.ratio(15, 16)?;
        let count = dims.iter().product::<i64>().clamp(0, 1 << 12);
        let values = (0..count).flat_map(|_| {
            let value = if sound { 0.02 } else { u.choose(SCALES).copied().unwrap_or(0.02) };
            value.to_le_bytes()
        });
        let raw_data = values.collect();
        self.graph.initializer.push(TensorProto {
            name: scale.clone(),
            dims,
            data_type: 1,
            raw_data,
            ..<_>::default()
        });
        let zero = self.constant(u, "zero_point", kind, other)?;
        Ok([scale, zero])
    }

    /// Bytes and back.
    fn requantised(&mut self, u: &mut Unstructured, from: String) -> Result<String> {
        let kind = *u.choose(&[U8, U8, U8, S8, S32])?;
        let channels = self.channels;
        let [scale, zero] = self.quantisation(u, kind, channels)?;
        let axis = if u.ratio(1, 8)? { vec![attribute(u)?] } else { vec![] };
        let bytes = self.node("QuantizeLinear", vec![from, scale.clone(), zero.clone()], axis.clone());
        Ok(self.node("DequantizeLinear", vec![bytes, scale, zero], axis))
    }

    /// A convolution with quantised weights, as exporters write it.
    fn convolution(&mut self, u: &mut Unstructured, from: String) -> Result<String> {
        let (outputs, group) = (side(u)?, if u.ratio(1, 3)? { self.channels } else { 1 });
        let inner = if u.ratio(1, 12)? { side(u)? } else { self.channels / group.max(1) };
        let kernel = [u.int_in_range(1..=5)?, u.int_in_range(1..=5)?];
        let outputs = if group > 1 { self.channels } else { outputs };
        let kind = *u.choose(&[S8, S8, S8, U8])?;
        let weights = self.constant(u, "weights", kind, vec![outputs, inner, kernel[0], kernel[1]])?;
        let [scale, zero] = self.quantisation(u, kind, outputs)?;
        let weights = self.node("DequantizeLinear", vec![weights, scale, zero], vec![integer("axis", 0)]);
        let mut attributes = vec![integer("group", group)];
        for (name, count) in [("kernel_shape", 2), ("strides", 2), ("dilations", 2), ("pads", 4)] {
            if u.ratio(1, 2)? {
                let ints = (0..count).map(|at| match name {
                    "kernel_shape" if !u.ratio(1, 16)? => Ok(kernel[at % 2]),
                    _ if u.ratio(1, 16)? => whole(u),
                    _ => u.int_in_range(1..=3),
                });
                let ints = ints.collect::<Result<_>>()?;
                let kind = AttributeType::Ints.into();
                attributes.push(AttributeProto { name: name.to_owned(), ints, r#type: kind, ..<_>::default() });
            }
        }
        self.channels = outputs;
        Ok(self.node("Conv", vec![from, weights], attributes))
    }

    fn any(&mut self, u: &mut Unstructured, from: String) -> Result<String> {
        let operator = *u.choose(OPERATORS)?;
        let mut inputs = vec![from.clone()];
        for _ in 0..u.int_in_range(0..=3_u32)? {
            let input = if u.ratio(1, 2)? {
                let kind = *u.choose(&[FLOAT, U8, S8, S32, S64])?;
                // A shape, often: a list of a few whole numbers, or one alone.
                let list = kind == S64 && u.ratio(3, 4)?;
                let dims = if list { many(u, 1, |u| u.int_in_range(1..=5))? } else { many(u, 4, side)? };
                self.constant(u, "constant", kind, dims)?
            } else {
                self.wire(u, &from)?
            };
            inputs.push(input);
        }
        let attributes = many(u, 4, attribute)?;
        Ok(self.node(operator, inputs, attributes))
    }
}

fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), i, r#type: AttributeType::Int.into(), ..AttributeProto::default() }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |side: &i64| Dimension { value: Some(dimension::Value::DimValue(*side)), ..Dimension::default() };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Value::TensorType(type_proto::Tensor { elem_type: 1, shape });
    let kind = TypeProto { value: Some(tensor), ..TypeProto::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..ValueInfoProto::default() }
}

fn model(u: &mut Unstructured) -> Result<ModelProto> {
    let batch = if u.ratio(1, 16)? { whole(u)? } else { 1 };
    let dims = [batch, side(u)?, side(u)?, side(u)?];
    let mut builder = Builder { graph: GraphProto::default(), wires: vec!["images".to_owned()], channels: dims[1] };
    let mut last = builder.requantised(u, "images".to_owned())?;
    for _ in 0..u.int_in_range(1..=6_u32)? {
        let from = builder.wire(u, &last)?;
        last = if u.ratio(1, 2)? { builder.convolution(u, from)? } else { builder.any(u, from)? };
        if u.ratio(7, 8)? {
            last = builder.requantised(u, last)?;
        }
    }
    let output = builder.wire(u, &last)?;
    let mut graph = builder.graph;
    graph.input = vec![value("images", &dims)];
    graph.output = vec![value(&output, &[])];
    let opset_import =
        vec![OperatorSetIdProto { domain: String::new(), version: *u.choose(&[9, 11, 13, 13, 17, 18])? }];
    Ok(ModelProto { ir_version: 8, graph: Some(graph), opset_import, ..ModelProto::default() })
}

/// The file that the bytes stand for; none if they are too few.
pub fn file(bytes: &[u8]) -> Option<Vec<u8>> {
    model(&mut Unstructured::new(bytes)).ok().map(|model| model.encode_to_vec())
}
