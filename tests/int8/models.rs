//! The models of `tests/quantised`, loaded and run.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use nformer_edge::int8::{Report, onnx, rewrite};
use safetensors::SafeTensors;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, IntoTValue, TValue, Tensor, TypedModel,
    TypedRunnableModel, tvec,
};

/// One model, an input, and what ONNX Runtime makes of it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) input: Vec<f32>,
    pub(crate) outputs: Vec<Expected>,
}

pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) values: Vec<f32>,
    /// Of the last `DequantizeLinear`, if the output comes from one.
    pub(crate) step: Option<f32>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/quantised")
}

pub(crate) fn cases() -> Vec<Case> {
    let index = fs::read_to_string(folder().join("index.json")).expect("the index of the models");
    let index: serde_json::Value = serde_json::from_str(&index).expect("JSON");
    index.as_array().expect("a list").iter().map(case).collect()
}

fn case(entry: &serde_json::Value) -> Case {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let name = text(&entry["name"]);
    let bytes = fs::read(folder().join(format!("{name}.safetensors"))).expect("recorded numbers");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors");
    let floats = |name: &str| -> Vec<f32> {
        let data = tensors.tensor(name).expect("a tensor that the index names").data();
        data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let shape = entry["input"].as_array().expect("a shape");
    let outputs = entry["outputs"].as_array().expect("outputs").iter().map(|output| {
        let name = text(&output["name"]);
        Expected { values: floats(&name), step: output["step"].as_f64().map(|step| step as f32), name }
    });
    Case {
        shape: shape.iter().map(|side| side.as_u64().expect("a side") as usize).collect(),
        input: floats("images"),
        outputs: outputs.collect(),
        name,
    }
}

/// The model rewritten, and what the rewrite says of it.
pub(crate) fn load(case: &Case) -> (TypedModel, Report) {
    let mut model = onnx().model_for_path(folder().join(format!("{}.onnx", case.name))).expect("a model");
    model.set_input_fact(0, InferenceFact::dt_shape(DatumType::F32, &case.shape)).expect("its input");
    rewrite(model.into_typed().expect("types")).expect("a rewritten model")
}

pub(crate) fn plan(case: &Case) -> Arc<TypedRunnableModel> {
    load(case).0.into_optimized().expect("an optimised model").into_runnable().expect("a plan")
}

pub(crate) fn run(case: &Case) -> Vec<Vec<f32>> {
    floats(&plan(case).run(tvec!(tensor(&case.shape, &case.input))).expect("a run"))
}

pub(crate) fn tensor(shape: &[usize], values: &[f32]) -> TValue {
    Tensor::from_shape(shape, values).expect("as many values as the shape says").into_tvalue()
}

pub(crate) fn floats(outputs: &[TValue]) -> Vec<Vec<f32>> {
    let floats = |tensor: &TValue| tensor.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
    outputs.iter().map(floats).collect()
}

/// The model file, parsed.
pub(crate) fn proto(case: &Case) -> ModelProto {
    onnx().proto_model_for_path(folder().join(format!("{}.onnx", case.name))).expect("a model")
}
