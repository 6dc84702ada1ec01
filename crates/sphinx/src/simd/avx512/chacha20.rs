//! ChaCha20, sixteen blocks of one stream at a time, a word of all of them per vector.
//!
//! Budget: 10 double rounds of 8 quarter rounds of 12 operations, two of which Zen 4 does per cycle:
//! 480 cycles; with the transposition measured 600 for 1,024 bytes, 0.16 µs at 3.7 GHz.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32 as add, _mm512_rol_epi32, _mm512_set1_epi32, _mm512_setr_epi32,
    _mm512_setzero_si512, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64, _mm512_xor_si512 as xor,
};

use zeroize::Zeroize;

use super::{load, store, transpose_quarters};

/// XORs the keystream of `key`, from its start, onto `data`. The nonce is zero.
#[target_feature(enable = "avx512f")]
pub(in super::super) fn apply_keystream(key: &[u8; 32], data: &mut [u8]) {
    let mut initial = initial(key);
    // The counter is of 64 bits, words 12 and 13, and a multiple of 16 here.
    for (chunk, counter) in data
        .chunks_mut(BLOCK_LEN * BLOCKS)
        .zip((0_u64..).step_by(BLOCKS))
    {
        initial[12] = add(
            splat(low(counter)),
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        );
        initial[13] = splat(low(counter >> 32));
        let stream = blocks(&initial);
        let (whole, rest) = chunk.as_chunks_mut::<BLOCK_LEN>();
        for (bytes, &block) in whole.iter_mut().zip(&stream) {
            store(bytes, xor(load(bytes), block));
        }
        if let Some(&block) = stream.get(whole.len()) {
            let mut last = [0; BLOCK_LEN];
            store(&mut last, block);
            for (byte, last) in rest.iter_mut().zip(last) {
                *byte ^= last;
            }
            last.zeroize();
        }
    }
    initial[4..12].iter_mut().for_each(Zeroize::zeroize);
}

const BLOCK_LEN: usize = 64;
const BLOCKS: usize = 16;

/// "expand 32-byte k"
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// The state before the rounds, without its counter.
#[target_feature(enable = "avx512f")]
#[inline]
fn initial(key: &[u8; 32]) -> [__m512i; 16] {
    let mut state = [_mm512_setzero_si512(); 16];
    for (word, constant) in state.iter_mut().zip(CONSTANTS) {
        *word = splat(constant);
    }
    for (word, &bytes) in state[4..].iter_mut().zip(key.as_chunks().0) {
        *word = splat(u32::from_le_bytes(bytes));
    }
    state
}

/// Four quarter rounds side by side. A macro, because the state only stays in registers if all indices
/// are constants.
macro_rules! quarter_rounds {
    ($x:ident, $(($a:literal, $b:literal, $c:literal, $d:literal)),+) => {
        $($x[$a] = add($x[$a], $x[$b]);)+
        $($x[$d] = _mm512_rol_epi32::<16>(xor($x[$d], $x[$a]));)+
        $($x[$c] = add($x[$c], $x[$d]);)+
        $($x[$b] = _mm512_rol_epi32::<12>(xor($x[$b], $x[$c]));)+
        $($x[$a] = add($x[$a], $x[$b]);)+
        $($x[$d] = _mm512_rol_epi32::<8>(xor($x[$d], $x[$a]));)+
        $($x[$c] = add($x[$c], $x[$d]);)+
        $($x[$b] = _mm512_rol_epi32::<7>(xor($x[$b], $x[$c]));)+
    };
}

/// Sixteen blocks of keystream.
#[target_feature(enable = "avx512f")]
#[inline]
fn blocks(initial: &[__m512i; 16]) -> [__m512i; BLOCKS] {
    let mut x = *initial;
    for _ in 0..10 {
        quarter_rounds!(
            x,
            (0, 4, 8, 12),
            (1, 5, 9, 13),
            (2, 6, 10, 14),
            (3, 7, 11, 15)
        );
        quarter_rounds!(
            x,
            (0, 5, 10, 15),
            (1, 6, 11, 12),
            (2, 7, 8, 13),
            (3, 4, 9, 14)
        );
    }
    for (word, &initial) in x.iter_mut().zip(initial) {
        *word = add(*word, initial);
    }
    transpose(&x)
}

/// From a word of all blocks per vector to a block per vector.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(words: &[__m512i; 16]) -> [__m512i; BLOCKS] {
    // quads[q][j]: words 4q to 4q + 3 of blocks j, j + 4, j + 8 and j + 12, one per quarter.
    let mut quads = [[_mm512_setzero_si512(); 4]; 4];
    for (quad, words) in quads.iter_mut().zip(words.as_chunks::<4>().0) {
        let [a, b, c, d] = *words;
        let low = [_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d)];
        let high = [_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d)];
        *quad = [
            _mm512_unpacklo_epi64(low[0], low[1]),
            _mm512_unpackhi_epi64(low[0], low[1]),
            _mm512_unpacklo_epi64(high[0], high[1]),
            _mm512_unpackhi_epi64(high[0], high[1]),
        ];
    }
    let mut blocks = [_mm512_setzero_si512(); BLOCKS];
    for j in 0..4 {
        let column = transpose_quarters([quads[0][j], quads[1][j], quads[2][j], quads[3][j]]);
        for (k, block) in column.into_iter().enumerate() {
            blocks[4 * k + j] = block;
        }
    }
    blocks
}

#[target_feature(enable = "avx512f")]
#[inline]
fn splat(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}

/// The low 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the high half is asked for apart"
)]
const fn low(counter: u64) -> u32 {
    counter as u32
}
