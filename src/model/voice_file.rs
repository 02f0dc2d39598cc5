//! Files of voices: safetensors with one tensor, as `kyutai/tts-voices` publishes them.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use super::error::LoadError;
use crate::stream::voice::Voice;

/// Name of the tensor.
const TENSOR: &str = "speaker_wavs";
/// Longest file that is read; a published voice has 256 kB.
const MOST_BYTES: u64 = 4 << 20;

/// Reads the voice `name` from the file at `path`.
///
/// # Errors
/// The file cannot be read, or has no voice: the tensor `speaker_wavs` of 32-bit floats with the shape [1, width, steps].
pub fn read(name: &str, path: &Path) -> Result<Voice, LoadError> {
    let failed = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let wrong = |reason| LoadError::Voice {
        path: path.to_owned(),
        reason,
    };
    if std::fs::metadata(path).map_err(failed)?.len() > MOST_BYTES {
        return Err(wrong(format!("it has more than {MOST_BYTES} bytes")));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(e.to_string()))?;
    let tensor = file.tensor(TENSOR).map_err(|e| wrong(e.to_string()))?;
    let (width, steps) = match *tensor.shape() {
        [1, width, steps] | [width, steps] if tensor.dtype() == Dtype::F32 && width * steps > 0 => {
            (width, steps)
        }
        ref shape => {
            return Err(wrong(format!(
                "`{TENSOR}` is {:?} of the shape {shape:?}, not F32 of [1, width, steps]",
                tensor.dtype()
            )));
        }
    };
    let numbers = tensor.data().as_chunks::<4>().0;
    let number = |at: usize, step: usize| f32::from_le_bytes(numbers[at * steps + step]);
    let embedding = (0..steps).flat_map(|step| (0..width).map(move |at| number(at, step)));
    Ok(Voice {
        name: Some(name.into()),
        embedding: embedding.collect(),
        steps,
        width,
    })
}

#[cfg(test)]
pub(crate) mod testing {
    use safetensors::tensor::TensorView;

    use super::*;

    /// Writes the tensor of a voice to `path`.
    pub(crate) fn write(path: &Path, shape: &[usize], numbers: &[f32]) {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
        let bytes = safetensors::serialize([(TENSOR, view)], None).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_is_turned_to_vectors_one_after_the_other() {
        let file = tempfile::NamedTempFile::new().unwrap();
        testing::write(file.path(), &[1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let voice = read("a", file.path()).unwrap();
        assert_eq!(
            (voice.width, voice.steps, voice.name.as_deref()),
            (2, 3, Some("a"))
        );
        assert_eq!(*voice.embedding, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn what_is_no_voice_is_refused_with_a_reason() {
        let (flat, text) = (
            tempfile::NamedTempFile::new().unwrap(),
            tempfile::NamedTempFile::new().unwrap(),
        );
        testing::write(flat.path(), &[4], &[0.0; 4]);
        std::fs::write(text.path(), b"not a voice").unwrap();
        for path in [flat.path(), text.path()] {
            let error = read("a", path).unwrap_err().to_string();
            assert!(error.contains("holds no voice"), "{error}");
        }
        assert!(read("a", Path::new("/nowhere/at/all")).is_err());
    }
}
