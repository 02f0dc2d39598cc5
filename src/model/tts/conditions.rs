//! Conditions that are added to the input of every step: the strength of guidance and the quality of the audio.

use crate::model::error::LoadError;
use crate::model::layout::conditioners::{CONTROL, CONTROL_VALUE, GUIDANCE, SpeechConditioner};
use crate::model::layout::speech::SpeechLm;
use crate::model::weights::Weights;

/// Vectors of every value of every condition.
pub(crate) struct Conditions {
    /// Sum of all that rows do not choose.
    fixed: Vec<f32>,
    /// Strengths of guidance with their vectors; empty where the checkpoint has not learnt any.
    guidance: Vec<(f32, Vec<f32>)>,
    /// Stands for no strength.
    unguided: Vec<f32>,
}

impl Conditions {
    /// Loads the conditions of `lm`.
    ///
    /// # Errors
    /// A tensor is missing or wrong, or a strength of guidance is not a number.
    pub(crate) fn load(w: &Weights, lm: &SpeechLm) -> Result<Self, LoadError> {
        let d = lm.dim;
        let mut conditions = Self {
            fixed: vec![0.0; d],
            guidance: Vec::new(),
            unguided: vec![0.0; d],
        };
        for name in &lm.fuser.sum {
            let Some(conditioner @ SpeechConditioner::Lut { lut }) = lm.conditioners.get(name) else {
                continue;
            };
            let layout = conditioner.layout(name, d);
            let padding = w.values(&layout.padding, &[1, 1, d])?;
            let (Some(table), projection) = (layout.table, layout.projection) else {
                continue;
            };
            let table_values = w.values(&table.name, &[table.rows, table.cols])?;
            let projection_values = w.values(&projection.name, &[d, table.cols])?;
            let vector = |index: usize| -> Vec<f32> {
                let entry = &table_values[index * table.cols..][..table.cols];
                let dot = |row: &[f32]| row.iter().zip(entry).map(|(w, x)| w * x).sum();
                projection_values.chunks_exact(table.cols).map(dot).collect()
            };
            let values = lut.possible_values.iter().take(lut.n_bins).enumerate();
            if name == GUIDANCE {
                for (index, value) in values {
                    let strength = value.parse().map_err(|_| {
                        LoadError::Config(format!(
                            "config.json: the value `{value}` of `{name}` is not a number"
                        ))
                    })?;
                    conditions.guidance.push((strength, vector(index)));
                }
                conditions.unguided = padding;
                continue;
            }
            let known = { values }.find(|(_, value)| name == CONTROL && *value == CONTROL_VALUE);
            let chosen = known.map_or(padding, |(index, _)| vector(index));
            add(&mut conditions.fixed, &chosen);
        }
        Ok(conditions)
    }

    /// Writes the sum of a row's conditions to `sum`. Guidance has the strength that is next to the one asked for.
    pub(crate) fn write(&self, guidance: Option<f32>, sum: &mut [f32]) {
        sum.copy_from_slice(&self.fixed);
        let near = |asked: f32| {
            let distance = |(strength, _): &&(f32, Vec<f32>)| (strength - asked).abs();
            let next = |a: &&(f32, Vec<f32>), b: &&(f32, Vec<f32>)| distance(a).total_cmp(&distance(b));
            self.guidance.iter().min_by(next)
        };
        match guidance.and_then(near) {
            Some((_, vector)) => add(sum, vector),
            None => add(sum, &self.unguided),
        }
    }
}

fn add(sum: &mut [f32], vector: &[f32]) {
    sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
}
