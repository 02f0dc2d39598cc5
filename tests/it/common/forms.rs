//! Audio files, and forms with them, as clients post them.

/// 16-bit mono at 24 kHz.
pub fn wav(samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|s| ((s * 32768.0) as i16).to_le_bytes())
        .collect();
    let mut out =
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\xc0\x5d\0\0\x80\xbb\0\0\x02\0\x10\0data".to_vec();
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

/// A form: its boundary is `edge`, and each part is `(what its head says besides form-data, its body)`.
pub fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (says, body) in parts {
        out.extend(format!("--edge\r\nContent-Disposition: form-data; {says}\r\n\r\n").bytes());
        out.extend(*body);
        out.extend(b"\r\n");
    }
    out.extend(b"--edge--\r\n");
    out
}

/// The header line of such a form.
pub const FORM: &str = "content-type: multipart/form-data; boundary=edge\r\n";
