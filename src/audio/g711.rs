//! Telephone audio: the two laws of ITU-T G.711, 8 bits per sample, as tables of 16-bit samples.

/// How a sample is pressed into 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// North America and Japan.
    Mu,
    /// The rest of the world.
    A,
}

/// 16-bit samples by code.
static MU: [i16; 256] = table(Law::Mu);
static A: [i16; 256] = table(Law::A);

const fn table(law: Law) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = match law {
            Law::Mu => mu(code as u8),
            Law::A => a(code as u8),
        };
        code += 1;
    }
    table
}

// G.711, table 2: sign, three bits of segment, four of step, all inverted; scaled from 14 bits to 16.
const fn mu(code: u8) -> i16 {
    let code = !code;
    let size = ((((code & 15) as i16) << 3) + 0x84) << ((code >> 4) & 7);
    if code & 0x80 != 0 {
        0x84 - size
    } else {
        size - 0x84
    }
}

// G.711, table 1: the same with every second bit inverted and the sign the other way round; scaled from 13 bits to 16.
const fn a(code: u8) -> i16 {
    let code = code ^ 0x55;
    let step = ((code & 15) as i16) << 4;
    let size = match (code >> 4) & 7 {
        0 => step + 8,
        segment => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 != 0 { size } else { -size }
}

impl Law {
    /// Returns `codes` as little-endian 16-bit samples.
    ///
    /// ```
    /// use moshi_server::audio::g711::Law;
    /// assert_eq!(Law::Mu.expand(&[0xff, 0x80, 0x00]), [0, 0, 0x7c, 0x7d, 0x84, 0x82]);
    /// ```
    #[must_use]
    pub fn expand(self, codes: &[u8]) -> Vec<u8> {
        let table = match self {
            Self::Mu => &MU,
            Self::A => &A,
        };
        codes
            .iter()
            .flat_map(|code| table[usize::from(*code)].to_le_bytes())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_for_the_levels_of_the_standard() {
        // Values of the tables of G.711, scaled to 16 bits: full scale, the smallest steps, silence.
        assert_eq!([0x00, 0x7f, 0x80, 0xfe, 0xff].map(mu), [-32_124, 0, 32_124, 8, 0]);
        assert_eq!(
            [0x2a, 0xaa, 0x55, 0xd5, 0xd4].map(a),
            [-32_256, 32_256, -8, 8, 24]
        );
    }

    #[test]
    fn louder_codes_are_louder_and_signs_are_symmetric() {
        for code in 0..127u8 {
            assert!(mu(code) < mu(code + 1), "{code}");
            assert_eq!(mu(code), -mu(code | 0x80));
            assert_eq!(a(code), -a(code | 0x80));
        }
        let mut levels: Vec<i16> = (0..=255).map(a).collect();
        levels.sort_unstable();
        levels.dedup();
        assert_eq!(levels.len(), 256);
    }
}
