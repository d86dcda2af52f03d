// Lists of blocks the other way round, as bits: which rows of blocks see a column. One word of 32 rows after the other, for each column, for
// each set of lists.
//
// Defined before: the word indices w_*, WORDS.

extern "C" __global__ void __launch_bounds__(256) attention_marks_clear(const __grid_constant__ Words<WORDS> w) {
  const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
  if (i < wide(w, w_markWords)) pointer<u32>(w, w_marks)[i] = 0;
}

extern "C" __global__ void __launch_bounds__(256) attention_marks(const __grid_constant__ Words<WORDS> w) {
  const int rows = integer(w, w_blockRows), columns = integer(w, w_blockColumnCount), words = (rows + 31) / 32;
  // A warp a list.
  const i64 list = (i64)blockIdx.x * 8 + (threadIdx.x >> 5);
  const int pattern = (int)(list / rows), row = (int)(list - (i64)pattern * rows);
  if (pattern >= integer(w, w_patterns)) return;
  const int* const starts = pointer<const int>(w, w_blockStarts) + (i64)pattern * (rows + 1) + row;
  for (int e = starts[0] + (threadIdx.x & 31); e < starts[1]; e += 32) {
    const int c = pointer<const int>(w, w_blockColumns)[e];
    if ((u32)c < (u32)columns) atomicOr(pointer<u32>(w, w_marks) + ((i64)pattern * columns + c) * words + (row >> 5), 1u << (row & 31));
  }
}
