//! HKDF-SHA256 and HMAC-SHA256 (RFC 5869, RFC 2104, FIPS 180-4) for eight packets, one per lane.
//!
//! Of the 35 compressions that derive a key block, 16 take blocks that are known beforehand: their
//! schedules, and the states that HKDF's absent salt leaves, are computed at compile time.
//!
//! Budget of a compression in all lanes: 64 rounds of 17 operations and a schedule of 530, of which
//! Zen 4 does four per cycle, but rotations two: 450 cycles, with a known schedule 300. A key block
//! and the MAC of a header are 16·300 + 27·450 cycles: 0.57 µs for each of the eight at 3.7 GHz.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32 as add, _mm256_permute2x128_si256, _mm256_ror_epi32,
    _mm256_set1_epi32, _mm256_setr_epi8, _mm256_setr_epi32, _mm256_setzero_si256 as zero,
    _mm256_shuffle_epi8, _mm256_srli_epi32, _mm256_ternarylogic_epi32, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256 as xor,
};

use zeroize::{Zeroize, Zeroizing};

use super::{load_half, store_half};
use crate::{
    hop_keys::{KEY_BLOCK_INFO, KEY_BLOCK_LEN},
    sizes::{MAC_KEY_LEN, MAC_LEN, ROUTING_INFO_LEN},
};

/// The number of lanes.
pub(in super::super) const LANES: usize = 8;

/// The key block of each secret: HKDF without salt.
#[target_feature(enable = "avx512f,avx512vl")]
pub(in super::super) fn key_blocks(
    secrets: &[&[u8; 32]; LANES],
) -> Zeroizing<[[u8; KEY_BLOCK_LEN]; LANES]> {
    let mut blocks = Zeroizing::new([[0; KEY_BLOCK_LEN]; LANES]);
    let unsalted = Hmac::from_states(&UNSALTED);
    let mut secret = load_words(secrets);
    let mut inner = unsalted.inner;
    compress(&mut inner, &digest_block(&secret));
    let mut key = [zero(); 16];
    key[..8].copy_from_slice(&unsalted.finish(&inner));
    let mut hmac = Hmac::new(&key);

    let mut inner = hmac.inner;
    compress_known(&mut inner, &FIRST_INPUT[0]);
    compress_known(&mut inner, &FIRST_INPUT[1]);
    let mut output = hmac.finish(&inner);
    store_words(&output, &mut blocks, 0);
    for (index, last) in (1..).zip(&LAST_INPUTS) {
        let mut block = [zero(); 16];
        block[..8].copy_from_slice(&output);
        for (word, bytes) in block[8..].iter_mut().zip(KEY_BLOCK_INFO.as_chunks().0) {
            *word = splat(u32::from_be_bytes(*bytes));
        }
        let mut inner = hmac.inner;
        compress(&mut inner, &block);
        compress_known(&mut inner, &MIDDLE_INPUT);
        compress_known(&mut inner, last);
        output = hmac.finish(&inner);
        store_words(&output, &mut blocks, index);
    }
    for words in [&mut secret, &mut output, &mut hmac.inner, &mut hmac.outer] {
        words.zeroize();
    }
    key.zeroize();
    blocks
}

/// The MAC of each β under the key of the same index.
#[target_feature(enable = "avx512f,avx512vl")]
pub(in super::super) fn header_macs(
    keys: &[&[u8; MAC_KEY_LEN]; LANES],
    routing_infos: &[&[u8; ROUTING_INFO_LEN]; LANES],
) -> [[u8; MAC_LEN]; LANES] {
    let mut key = [zero(); 16];
    for (i, word) in key[..MAC_KEY_LEN / 4].iter_mut().enumerate() {
        *word = gather(&keys.map(|key| key.as_chunks().0[i]));
    }
    let mut hmac = Hmac::new(&key);
    let mut inner = hmac.inner;
    let blocks = routing_infos.map(|routing_info| routing_info.as_chunks::<32>());
    for i in 0..WHOLE_BLOCKS {
        let mut block = [zero(); 16];
        let halves = [0, 1].map(|half| blocks.map(|(chunks, _)| &chunks[2 * i + half]));
        block[..8].copy_from_slice(&load_words(&halves[0]));
        block[8..].copy_from_slice(&load_words(&halves[1]));
        compress(&mut inner, &block);
    }
    let mut block = [zero(); 16];
    let first = blocks.map(|(chunks, _)| &chunks[2 * WHOLE_BLOCKS]);
    block[..8].copy_from_slice(&load_words(&first));
    for i in 0..3 {
        block[8 + i] = gather(&blocks.map(|(_, rest)| rest.as_chunks().0[i]));
    }
    block[11] = splat(END_MARK);
    block[15] = splat(8 * (64 + 300));
    compress(&mut inner, &block);

    let digest = hmac.finish(&inner);
    let mut bytes = [[0; 32]; LANES];
    store_words(&digest, &mut bytes, 0);
    for words in [&mut hmac.inner, &mut hmac.outer] {
        words.zeroize();
    }
    key.zeroize();
    bytes.map(|bytes| *bytes.first_chunk().expect("a digest has 32 bytes"))
}

/// Blocks of β that are full: the last one has 44 bytes and the padding.
const WHOLE_BLOCKS: usize = ROUTING_INFO_LEN / 64;
const _: () = assert!(ROUTING_INFO_LEN - 64 * WHOLE_BLOCKS == 32 + 3 * 4);

/// An HMAC's states after its key, in every lane.
struct Hmac {
    inner: [__m256i; 8],
    outer: [__m256i; 8],
}

impl Hmac {
    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    fn new(key: &[__m256i; 16]) -> Self {
        let mut hmac = Self::from_states(&[INITIAL; 2]);
        let mut padded = *key;
        for (padded, &key) in padded.iter_mut().zip(key) {
            *padded = xor(key, splat(INNER_PAD));
        }
        compress(&mut hmac.inner, &padded);
        for (padded, &key) in padded.iter_mut().zip(key) {
            *padded = xor(key, splat(OUTER_PAD));
        }
        compress(&mut hmac.outer, &padded);
        padded.zeroize();
        hmac
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    fn from_states(states: &[[u32; 8]; 2]) -> Self {
        let [mut inner, mut outer] = [[zero(); 8]; 2];
        for i in 0..8 {
            inner[i] = splat(states[0][i]);
            outer[i] = splat(states[1][i]);
        }
        Self { inner, outer }
    }

    /// The MAC of what the inner hash has taken and padded.
    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    fn finish(&self, inner: &[__m256i; 8]) -> [__m256i; 8] {
        let mut outer = self.outer;
        compress(&mut outer, &digest_block(inner));
        outer
    }
}

/// The last block of an inner or outer hash: 32 bytes after the block of the key.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn digest_block(content: &[__m256i; 8]) -> [__m256i; 16] {
    let mut block = [zero(); 16];
    block[..8].copy_from_slice(content);
    block[8] = splat(END_MARK);
    block[15] = splat(8 * (64 + 32));
    block
}

#[target_feature(enable = "avx512f,avx512vl")]
fn compress(state: &mut [__m256i; 8], block: &[__m256i; 16]) {
    let (mut v, mut w) = (*state, *block);
    for (i, constants) in CONSTANTS.as_chunks::<16>().0.iter().enumerate() {
        if i > 0 {
            for j in 0..16 {
                let sigma = add(
                    small_sigma0(w[(j + 1) % 16]),
                    small_sigma1(w[(j + 14) % 16]),
                );
                w[j] = add(add(w[j], w[(j + 9) % 16]), sigma);
            }
        }
        for j in 0..16 {
            round(&mut v, add(w[j], splat(constants[j])));
        }
    }
    for (state, v) in state.iter_mut().zip(v) {
        *state = add(*state, v);
    }
}

/// The same, of a block that is the same in all lanes and whose schedule is known.
#[target_feature(enable = "avx512f,avx512vl")]
fn compress_known(state: &mut [__m256i; 8], schedule: &[u32; 64]) {
    let mut v = *state;
    for words in schedule.as_chunks::<16>().0 {
        for j in 0..16 {
            round(&mut v, splat(words[j]));
        }
    }
    for (state, v) in state.iter_mut().zip(v) {
        *state = add(*state, v);
    }
}

/// One round with the sum of its constant and its word.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn round(v: &mut [__m256i; 8], word: __m256i) {
    let [a, b, c, d, e, f, g, h] = *v;
    let sum1 = xor3(ror::<6>(e), ror::<11>(e), ror::<25>(e));
    // Truth tables of "e chooses f or g" and of "most of a, b, c".
    let choice = _mm256_ternarylogic_epi32::<0xca>(e, f, g);
    let majority = _mm256_ternarylogic_epi32::<0xe8>(a, b, c);
    let sum0 = xor3(ror::<2>(a), ror::<13>(a), ror::<22>(a));
    let t1 = add(add(add(h, word), choice), sum1);
    let t2 = add(sum0, majority);
    *v = [add(t1, t2), a, b, c, add(d, t1), e, f, g];
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn small_sigma0(w: __m256i) -> __m256i {
    xor3(ror::<7>(w), ror::<18>(w), _mm256_srli_epi32::<3>(w))
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn small_sigma1(w: __m256i) -> __m256i {
    xor3(ror::<17>(w), ror::<19>(w), _mm256_srli_epi32::<10>(w))
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn ror<const BITS: i32>(w: __m256i) -> __m256i {
    _mm256_ror_epi32::<BITS>(w)
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn xor3(a: __m256i, b: __m256i, c: __m256i) -> __m256i {
    _mm256_ternarylogic_epi32::<0x96>(a, b, c)
}

#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn splat(word: u32) -> __m256i {
    _mm256_set1_epi32(word.cast_signed())
}

/// Four bytes of every lane as a word.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn gather(bytes: &[[u8; 4]; LANES]) -> __m256i {
    let [a, b, c, d, e, f, g, h] = bytes.map(i32::from_be_bytes);
    _mm256_setr_epi32(a, b, c, d, e, f, g, h)
}

/// A word of all lanes per vector.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn load_words(bytes: &[&[u8; 32]; LANES]) -> [__m256i; 8] {
    let mut lanes = [zero(); 8];
    for (lane, bytes) in lanes.iter_mut().zip(bytes) {
        *lane = reverse_bytes(load_half(bytes));
    }
    transpose(&lanes)
}

/// The reverse; what a lane holds becomes its bytes from 32·`index` on.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn store_words<const LEN: usize>(
    words: &[__m256i; 8],
    bytes: &mut [[u8; LEN]; LANES],
    index: usize,
) {
    for (bytes, lane) in bytes.iter_mut().zip(transpose(words)) {
        store_half(&mut bytes.as_chunks_mut().0[index], reverse_bytes(lane));
    }
}

/// Between the byte orders of the machine and of SHA-256.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn reverse_bytes(words: __m256i) -> __m256i {
    let order = _mm256_setr_epi8(
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8,
        15, 14, 13, 12,
    );
    _mm256_shuffle_epi8(words, order)
}

/// Word `i` of vector `j` becomes word `j` of vector `i`.
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn transpose(v: &[__m256i; 8]) -> [__m256i; 8] {
    // quads[q][k]: word k of vectors 4q to 4q + 3, and word k + 4.
    let mut quads = [[zero(); 4]; 2];
    for (quad, v) in quads.iter_mut().zip(v.as_chunks::<4>().0) {
        let low = [
            _mm256_unpacklo_epi32(v[0], v[1]),
            _mm256_unpacklo_epi32(v[2], v[3]),
        ];
        let high = [
            _mm256_unpackhi_epi32(v[0], v[1]),
            _mm256_unpackhi_epi32(v[2], v[3]),
        ];
        *quad = [
            _mm256_unpacklo_epi64(low[0], low[1]),
            _mm256_unpackhi_epi64(low[0], low[1]),
            _mm256_unpacklo_epi64(high[0], high[1]),
            _mm256_unpackhi_epi64(high[0], high[1]),
        ];
    }
    let mut transposed = [zero(); 8];
    for k in 0..4 {
        transposed[k] = _mm256_permute2x128_si256::<0x20>(quads[0][k], quads[1][k]);
        transposed[k + 4] = _mm256_permute2x128_si256::<0x31>(quads[0][k], quads[1][k]);
    }
    transposed
}

const INNER_PAD: u32 = 0x3636_3636;
const OUTER_PAD: u32 = 0x5c5c_5c5c;

/// What follows a message.
const END_MARK: u32 = 0x8000_0000;

/// The inner and the outer state after a key of zeros, which is what no salt means.
static UNSALTED: [[u32; 8]; 2] = [
    state_after(&schedule([INNER_PAD; 16])),
    state_after(&schedule([OUTER_PAD; 16])),
];

/// HKDF's first input: the info and a 1, in two blocks.
static FIRST_INPUT: [[u32; 64]; 2] = [
    schedule(input_block(0, 64, 1, 0)),
    schedule(input_block(64, 33, 1, 64 + 98)),
];

/// The later inputs: the output before and 32 bytes of the info; 64 more of the info, here; ...
static MIDDLE_INPUT: [u32; 64] = schedule(input_block(32, 64, 0, 0));

/// ... and its last byte with the number of the output.
static LAST_INPUTS: [[u32; 64]; KEY_BLOCK_LEN / 32 - 1] = {
    let mut schedules = [[0; 64]; KEY_BLOCK_LEN / 32 - 1];
    let mut number = 2;
    while number <= KEY_BLOCK_LEN / 32 {
        schedules[number - 2] = schedule(input_block(96, 1, number, 64 + 32 + 98));
        number += 1;
    }
    schedules
};

/// A block with a part of the info; if it is a hash's last one, of `total` bytes, with the number
/// and the padding.
const fn input_block(start: usize, len: usize, number: usize, total: u32) -> [u32; 16] {
    let mut bytes = [0; 64];
    let mut i = 0;
    while i < len {
        bytes[i] = KEY_BLOCK_INFO[start + i];
        i += 1;
    }
    let mut words = [0; 16];
    if total > 0 {
        bytes[len] = number.to_le_bytes()[0];
        bytes[len + 1] = 0x80;
        words[15] = 8 * total;
    }
    let (chunks, _) = bytes.as_chunks();
    let mut i = 0;
    while i < 16 {
        words[i] |= u32::from_be_bytes(chunks[i]);
        i += 1;
    }
    words
}

/// The sums of the rounds' constants and the schedule's words.
const fn schedule(block: [u32; 16]) -> [u32; 64] {
    let mut words = [0; 64];
    let mut t = 0;
    while t < 64 {
        words[t] = if t < 16 {
            block[t]
        } else {
            let (near, far) = (words[t - 2], words[t - 15]);
            let sigma1 = near.rotate_right(17) ^ near.rotate_right(19) ^ near >> 10;
            let sigma0 = far.rotate_right(7) ^ far.rotate_right(18) ^ far >> 3;
            let sum = words[t - 16].wrapping_add(words[t - 7]);
            sum.wrapping_add(sigma0).wrapping_add(sigma1)
        };
        t += 1;
    }
    let mut t = 0;
    while t < 64 {
        words[t] = words[t].wrapping_add(CONSTANTS[t]);
        t += 1;
    }
    words
}

/// The state after a hash's first block.
const fn state_after(schedule: &[u32; 64]) -> [u32; 8] {
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = INITIAL;
    let mut t = 0;
    while t < 64 {
        let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t1 = h
            .wrapping_add(schedule[t])
            .wrapping_add(e & f ^ !e & g)
            .wrapping_add(sum1);
        let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = sum0.wrapping_add(a & b ^ a & c ^ b & c);
        (h, g, f, e) = (g, f, e, d.wrapping_add(t1));
        (d, c, b, a) = (c, b, a, t1.wrapping_add(t2));
        t += 1;
    }
    let after = [a, b, c, d, e, f, g, h];
    let mut state = INITIAL;
    let mut i = 0;
    while i < 8 {
        state[i] = state[i].wrapping_add(after[i]);
        i += 1;
    }
    state
}

/// The square roots' fractions that SHA-256 starts with.
const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The cube roots' fractions, one for each round.
const CONSTANTS: [u32; 64] = [
    0x428a_2f98,
    0x7137_4491,
    0xb5c0_fbcf,
    0xe9b5_dba5,
    0x3956_c25b,
    0x59f1_11f1,
    0x923f_82a4,
    0xab1c_5ed5,
    0xd807_aa98,
    0x1283_5b01,
    0x2431_85be,
    0x550c_7dc3,
    0x72be_5d74,
    0x80de_b1fe,
    0x9bdc_06a7,
    0xc19b_f174,
    0xe49b_69c1,
    0xefbe_4786,
    0x0fc1_9dc6,
    0x240c_a1cc,
    0x2de9_2c6f,
    0x4a74_84aa,
    0x5cb0_a9dc,
    0x76f9_88da,
    0x983e_5152,
    0xa831_c66d,
    0xb003_27c8,
    0xbf59_7fc7,
    0xc6e0_0bf3,
    0xd5a7_9147,
    0x06ca_6351,
    0x1429_2967,
    0x27b7_0a85,
    0x2e1b_2138,
    0x4d2c_6dfc,
    0x5338_0d13,
    0x650a_7354,
    0x766a_0abb,
    0x81c2_c92e,
    0x9272_2c85,
    0xa2bf_e8a1,
    0xa81a_664b,
    0xc24b_8b70,
    0xc76c_51a3,
    0xd192_e819,
    0xd699_0624,
    0xf40e_3585,
    0x106a_a070,
    0x19a4_c116,
    0x1e37_6c08,
    0x2748_774c,
    0x34b0_bcb5,
    0x391c_0cb3,
    0x4ed8_aa4a,
    0x5b9c_ca4f,
    0x682e_6ff3,
    0x748f_82ee,
    0x78a5_636f,
    0x84c8_7814,
    0x8cc7_0208,
    0x90be_fffa,
    0xa450_6ceb,
    0xbef9_a3f7,
    0xc671_78f2,
];
