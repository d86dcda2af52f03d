// Opcode tables, grouped by the shape of the operands. Scalar opcodes are single bytes; vector ones follow the prefix 0xfd,
// atomic ones 0xfe, saturating conversions 0xfc.

export const I32_UNARY = {
  clz: 0x67,
  ctz: 0x68,
  popcnt: 0x69,
  extend8S: 0xc0,
  extend16S: 0xc1,
  eqz: 0x45,
} as const;
export const I32_BINARY = {
  add: 0x6a,
  sub: 0x6b,
  mul: 0x6c,
  divS: 0x6d,
  divU: 0x6e,
  remS: 0x6f,
  remU: 0x70,
  and: 0x71,
  or: 0x72,
  xor: 0x73,
  shl: 0x74,
  shrS: 0x75,
  shrU: 0x76,
  rotl: 0x77,
  rotr: 0x78,
  eq: 0x46,
  ne: 0x47,
  ltS: 0x48,
  ltU: 0x49,
  gtS: 0x4a,
  gtU: 0x4b,
  leS: 0x4c,
  leU: 0x4d,
  geS: 0x4e,
  geU: 0x4f,
} as const;

export const I64_BINARY = {
  add: 0x7c,
  sub: 0x7d,
  mul: 0x7e,
  and: 0x83,
  or: 0x84,
  xor: 0x85,
  shl: 0x86,
  shrS: 0x87,
  shrU: 0x88,
  rotl: 0x89,
  rotr: 0x8a,
} as const;

export const F32_UNARY = {
  abs: 0x8b,
  neg: 0x8c,
  ceil: 0x8d,
  floor: 0x8e,
  trunc: 0x8f,
  nearest: 0x90,
  sqrt: 0x91,
} as const;
export const F32_BINARY = {
  add: 0x92,
  sub: 0x93,
  mul: 0x94,
  div: 0x95,
  min: 0x96,
  max: 0x97,
  copysign: 0x98,
} as const;
export const F32_COMPARE = { eq: 0x5b, ne: 0x5c, lt: 0x5d, gt: 0x5e, le: 0x5f, ge: 0x60 } as const;

export const F64_UNARY = {
  abs: 0x99,
  neg: 0x9a,
  ceil: 0x9b,
  floor: 0x9c,
  trunc: 0x9d,
  nearest: 0x9e,
  sqrt: 0x9f,
} as const;
export const F64_BINARY = {
  add: 0xa0,
  sub: 0xa1,
  mul: 0xa2,
  div: 0xa3,
  min: 0xa4,
  max: 0xa5,
  copysign: 0xa6,
} as const;
export const F64_COMPARE = { eq: 0x61, ne: 0x62, lt: 0x63, gt: 0x64, le: 0x65, ge: 0x66 } as const;

/** Vector ops that pair under the revectorizer carry no mark; those that never pair are listed in the README. */
export const F32X4_UNARY = {
  abs: 224,
  neg: 225,
  sqrt: 227,
  ceil: 103,
  floor: 104,
  trunc: 105,
  nearest: 106,
  convertI32x4S: 250,
  convertI32x4U: 251,
  demoteF64x2Zero: 94,
} as const;
export const F32X4_BINARY = {
  add: 228,
  sub: 229,
  mul: 230,
  div: 231,
  min: 232,
  max: 233,
  pmin: 234,
  pmax: 235,
  eq: 65,
  ne: 66,
  lt: 67,
  gt: 68,
  le: 69,
  ge: 70,
} as const;

export const I32X4_UNARY = {
  abs: 160,
  neg: 161,
  extendLowI16x8S: 167,
  extendHighI16x8S: 168,
  extendLowI16x8U: 169,
  extendHighI16x8U: 170,
  truncSatF32x4S: 248,
  truncSatF32x4U: 249,
} as const;
export const I32X4_BINARY = {
  add: 174,
  sub: 177,
  mul: 181,
  minS: 182,
  minU: 183,
  maxS: 184,
  maxU: 185,
  dotI16x8S: 186,
  eq: 55,
  ne: 56,
  ltS: 57,
  ltU: 58,
  gtS: 59,
  gtU: 60,
  leS: 61,
  leU: 62,
  geS: 63,
  geU: 64,
} as const;
export const I32X4_SHIFT = { shl: 171, shrS: 172, shrU: 173 } as const;

export const I16X8_UNARY = {
  abs: 128,
  neg: 129,
  extendLowI8x16S: 135,
  extendHighI8x16S: 136,
  extendLowI8x16U: 137,
  extendHighI8x16U: 138,
} as const;
export const I16X8_BINARY = {
  narrowI32x4S: 133,
  narrowI32x4U: 134,
  add: 142,
  sub: 145,
  mul: 149,
} as const;
export const I8X16_BINARY = {
  narrowI16x8S: 101,
  narrowI16x8U: 102,
  add: 110,
  sub: 113,
  eq: 35,
  ne: 36,
} as const;

export const I64X2_BINARY = {
  add: 206,
  sub: 209,
  mul: 213,
  extmulLowI32x4S: 220,
  extmulHighI32x4S: 221,
  extmulLowI32x4U: 222,
  extmulHighI32x4U: 223,
} as const;
export const I64X2_SHIFT = { shl: 203, shrS: 204, shrU: 205 } as const;

export const F64X2_UNARY = {
  abs: 236,
  neg: 237,
  sqrt: 239,
  promoteLowF32x4: 95,
  convertLowI32x4S: 254,
  convertLowI32x4U: 255,
} as const;
export const F64X2_BINARY = { add: 240, sub: 241, mul: 242, div: 243, min: 244, max: 245 } as const;

export const V128_BINARY = { and: 78, andnot: 79, or: 80, xor: 81 } as const;

/** Vector loads: opcode and bytes read per v128 (also the distance between the halves of a pair). */
export const VEC_LOAD = {
  load: [0, 16],
  load8x8S: [1, 8],
  load8x8U: [2, 8],
  load16x4S: [3, 8],
  load16x4U: [4, 8],
  load32x2S: [5, 8],
  load32x2U: [6, 8],
} as const;
/** Loads that fill every lane from one element: opcode and log2 of its bytes. */
export const VEC_LOAD_SPLAT = {
  load8Splat: [7, 0],
  load16Splat: [8, 1],
  load32Splat: [9, 2],
  load64Splat: [10, 3],
} as const;
/** Loads into lane 0 with the other lanes zero. */
export const VEC_LOAD_ZERO = { load32Zero: [92, 2], load64Zero: [93, 3] } as const;
export const VEC_LOAD_LANE = {
  load8Lane: [84, 0],
  load16Lane: [85, 1],
  load32Lane: [86, 2],
  load64Lane: [87, 3],
} as const;
export const VEC_STORE_LANE = {
  store8Lane: [88, 0],
  store16Lane: [89, 1],
  store32Lane: [90, 2],
  store64Lane: [91, 3],
} as const;

/** Scalar loads: opcode and log2 of the bytes read. */
export const I32_LOAD = {
  load: [0x28, 2],
  load8S: [0x2c, 0],
  load8U: [0x2d, 0],
  load16S: [0x2e, 1],
  load16U: [0x2f, 1],
} as const;
export const I32_STORE = { store: [0x36, 2], store8: [0x3a, 0], store16: [0x3b, 1] } as const;

/** Read-modify-write atomics on 32 bits (prefix 0xfe). */
export const ATOMIC_RMW = {
  atomicAdd: 0x1e,
  atomicSub: 0x25,
  atomicAnd: 0x2c,
  atomicOr: 0x33,
  atomicXor: 0x3a,
  atomicExchange: 0x41,
} as const;
