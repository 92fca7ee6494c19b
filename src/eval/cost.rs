//! Multiply-adds of a backbone, counted from its file.

use tract_core::ops::Cost;
use tract_onnx::prelude::{DatumType, Framework, InferenceFact, InferenceModelExt, TractResult, TypedModel};

use crate::error::Result;
use crate::model::{Card, Input};

/// Multiply-adds of the convolutions and matrix products for one picture; none if the file's operators do not tell.
///
/// # Errors
/// As [`Card::read_model`].
pub fn backbone_multiply_adds(card: &Card) -> Result<Option<f64>> {
    let Some(input) = card.contract.input() else { return Ok(None) };
    let bytes = card.read_model()?;
    Ok(typed(&bytes, input).and_then(|model| count(&model)).ok())
}

fn typed(bytes: &[u8], input: &Input) -> TractResult<TypedModel> {
    let mut model = tract_onnx::onnx().with_ignore_value_info(true).model_for_read(&mut &*bytes)?;
    model.set_input_fact(0, InferenceFact::dt_shape(DatumType::F32, input.shape()))?;
    model.into_typed()?.into_decluttered()
}

fn count(model: &TypedModel) -> TractResult<f64> {
    let mut sum = 0.0;
    for node in &model.nodes {
        let name = node.op.name();
        if !["Conv", "EinSum", "MatMul"].iter().any(|product| name.contains(product)) {
            continue;
        }
        for (kind, amount) in node.op.cost(&model.node_input_facts(node.id)?)? {
            if matches!(kind, Cost::FMA(_)) {
                sum += amount.to_i64()? as f64;
            }
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_shipped_backbones_cost_what_their_makers_say() {
        // In millions, as counted when they were exported.
        for (name, expected) in [("reid_backbone", 167.6), ("reid_backbone_tiny", 59.5)] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name).join("card.toml");
            let found = backbone_multiply_adds(&Card::read(&path).unwrap()).unwrap().unwrap();
            assert!((found / 1e6 - expected).abs() < 0.1, "{name}: {found}");
        }
    }
}
