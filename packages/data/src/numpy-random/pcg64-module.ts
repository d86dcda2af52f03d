// PCG64 in WebAssembly, five to ten times as fast as in JavaScript, which has no 64-bit integers to multiply. The module
// is written here, byte by byte, as two functions over one memory:
//   fill(count)     writes `count` outputs from address 64 on
//   shuffle(count)  writes 0..count-1 from address 64 on and shuffles them as numpy does
// Address 0: state low, state high, increment low, increment high (u64), then the unused half output and whether it
// exists (u32).

/** The functions of the module, and its memory. */
export interface Pcg64Module {
  readonly memory: WebAssembly.Memory;
  readonly fill: (count: number) => void;
  readonly shuffle: (count: number) => void;
}

/** Where outputs and shuffled numbers start, in bytes. */
export const PCG64_DATA = 64;

type Code = readonly number[];

const I32 = 0x7f;
const I64 = 0x7e;

// operand first, as in the stack machine
const get = (local: number): Code => [0x20, local];
const set = (local: number, value: Code): Code => [...value, 0x21, local];
const i32 = (value: number): Code => [0x41, ...signed(BigInt(value | 0))];
const i64 = (value: bigint): Code => [0x42, ...signed(BigInt.asIntN(64, value))];
const binary =
  (op: number) =>
  (a: Code, b: Code): Code => [...a, ...b, op];
const load = (op: number, address: Code, offset: number): Code => [...address, op, 0, offset];
const store = (op: number, address: Code, offset: number, value: Code): Code => [
  ...address,
  ...value,
  op,
  0,
  offset,
];
const select = (ifTrue: Code, ifFalse: Code, condition: Code): Code => [
  ...ifTrue,
  ...ifFalse,
  ...condition,
  0x1b,
];
const when = (condition: Code, ...body: Code[]): Code => [...condition, 0x04, 0x40, ...body.flat(), 0x0b];
/** Repeats the body while the condition that ends it holds. */
const repeat = (body: Code, condition: Code): Code => [0x03, 0x40, ...body, ...condition, 0x0d, 0, 0x0b];

const add32 = binary(0x6a);
const sub32 = binary(0x6b);
const and32 = binary(0x71);
const shl32 = binary(0x74);
const shr32 = binary(0x76);
const le32 = binary(0x4d);
const ne32 = binary(0x47);
const add64 = binary(0x7c);
const mul64 = binary(0x7e);
const and64 = binary(0x83);
const xor64 = binary(0x85);
const shr64 = binary(0x88);
const rotr64 = binary(0x8a);
const lt64 = binary(0x54);
const wrap = (a: Code): Code => [...a, 0xa7];
const extend = (a: Code): Code => [...a, 0xad];
const clz32 = (a: Code): Code => [...a, 0x67];
const load64 = (offset: number): Code => load(0x29, i32(0), offset);
const store64 = (offset: number, value: Code): Code => store(0x37, i32(0), offset, value);
const load32 = (address: Code, offset: number): Code => load(0x28, address, offset);
const store32 = (address: Code, offset: number, value: Code): Code => store(0x36, address, offset, value);

const MULTIPLIER_LOW = 0x4385df649fccf645n;
const MULTIPLIER_HIGH = 0x2360ed051fc65da4n;
const LOW_HALF = i64(0xffffffffn);

// locals that both functions share: the parameter, then these
const [COUNT, LOW, HIGH, INC_LOW, INC_HIGH, A, B, T] = [0, 1, 2, 3, 4, 5, 6, 7];
const SHARED: Code = [I64, I64, I64, I64, I64, I64, I64];

/** state = state * multiplier + increment (128 bits); T = the upper half of low * multiplier low. */
const STEP: Code = [
  set(A, and64(get(LOW), LOW_HALF)),
  set(B, shr64(get(LOW), i64(32n))),
  set(
    T,
    add64(
      mul64(get(B), i64(MULTIPLIER_LOW & 0xffffffffn)),
      shr64(mul64(get(A), i64(MULTIPLIER_LOW & 0xffffffffn)), i64(32n)),
    ),
  ),
  set(A, add64(mul64(get(A), i64(MULTIPLIER_LOW >> 32n)), and64(get(T), LOW_HALF))),
  set(
    T,
    add64(mul64(get(B), i64(MULTIPLIER_LOW >> 32n)), add64(shr64(get(T), i64(32n)), shr64(get(A), i64(32n)))),
  ),
  set(
    HIGH,
    add64(
      add64(mul64(get(HIGH), i64(MULTIPLIER_LOW)), mul64(get(LOW), i64(MULTIPLIER_HIGH))),
      add64(get(T), get(INC_HIGH)),
    ),
  ),
  set(LOW, add64(mul64(get(LOW), i64(MULTIPLIER_LOW)), get(INC_LOW))),
  set(HIGH, add64(get(HIGH), extend(lt64(get(LOW), get(INC_LOW))))),
].flat();

const OUTPUT: Code = rotr64(xor64(get(HIGH), get(LOW)), shr64(get(HIGH), i64(58n)));

const ENTER: Code = [
  set(LOW, load64(0)),
  set(HIGH, load64(8)),
  set(INC_LOW, load64(16)),
  set(INC_HIGH, load64(24)),
].flat();

const LEAVE: Code = [store64(0, get(LOW)), store64(8, get(HIGH))].flat();

function fillBody(): { locals: Code; code: Code } {
  const at = 8;
  const code = [
    ENTER,
    when(
      get(COUNT),
      repeat(
        [STEP, store(0x37, get(at), PCG64_DATA, OUTPUT), set(at, add32(get(at), i32(8)))].flat(),
        ne32(get(at), shl32(get(COUNT), i32(3))),
      ),
    ),
    LEAVE,
  ].flat();
  return { locals: [...SHARED, I32], code };
}

function shuffleBody(): { locals: Code; code: Code } {
  const [i, mask, j, kept, drawn, isFree] = [8, 9, 10, 11, 12, 13];
  const element = (index: Code): Code => shl32(index, i32(2));
  /** Takes 32 bits; where they are within bounds, swaps places i and j and goes one down. Rejected bits swap i with i. */
  const take = (bits: Code): Code =>
    [
      set(j, and32(bits, get(mask))),
      set(isFree, le32(get(j), get(i))),
      set(j, element(select(get(j), get(i), get(isFree)))),
      set(kept, load32(element(get(i)), PCG64_DATA)),
      store32(element(get(i)), PCG64_DATA, load32(get(j), PCG64_DATA)),
      store32(get(j), PCG64_DATA, get(kept)),
      set(i, sub32(get(i), get(isFree))),
      set(mask, select(shr32(get(mask), i32(1)), get(mask), le32(get(i), shr32(get(mask), i32(1))))),
    ].flat();
  const code = [
    ENTER,
    when(
      get(COUNT),
      repeat(
        [store32(element(get(i)), PCG64_DATA, get(i)), set(i, add32(get(i), i32(1)))].flat(),
        ne32(get(i), get(COUNT)),
      ),
      set(i, sub32(get(i), i32(1))),
    ),
    set(mask, shr32(i32(-1), clz32(get(i)))),
    when(
      get(i),
      when(load32(i32(0), 36), take(load32(i32(0), 32)), store32(i32(0), 36, i32(0))),
      when(
        get(i),
        repeat(
          [
            STEP,
            set(A, OUTPUT),
            take(wrap(get(A))),
            set(drawn, wrap(shr64(get(A), i64(32n)))),
            [...get(i), 0x04, 0x40, ...take(get(drawn)), 0x05],
            store32(i32(0), 32, get(drawn)),
            store32(i32(0), 36, i32(1)),
            [0x0b],
          ].flat(),
          ne32(get(i), i32(0)),
        ),
      ),
    ),
    LEAVE,
  ].flat();
  return { locals: [...SHARED, I32, I32, I32, I32, I32, I32], code };
}

/** The module's bytes. */
function moduleBytes(): Uint8Array<ArrayBuffer> {
  const functions = [fillBody(), shuffleBody()].map(({ locals, code }) => {
    const body = [...unsigned(locals.length), ...locals.flatMap((type) => [1, type]), ...code, 0x0b];
    return [...unsigned(body.length), ...body];
  });
  const exported = (name: string, kind: number, index: number): Code => [
    name.length,
    ...new TextEncoder().encode(name),
    kind,
    index,
  ];
  return Uint8Array.from([
    ...MAGIC,
    ...section(1, [[0x60, 1, I32, 0]]),
    ...section(3, [[0], [0]]),
    ...section(5, [[0, 1]]),
    ...section(7, [exported("memory", 2, 0), exported("fill", 0, 0), exported("shuffle", 0, 1)]),
    ...section(10, functions),
  ]);
}

const MAGIC: Code = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];

const section = (id: number, items: readonly Code[]): Code => {
  const body = [...unsigned(items.length), ...items.flat()];
  return [id, ...unsigned(body.length), ...body];
};

function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const more = rest > 127 ? 0x80 : 0;
    bytes.push((rest & 127) | more);
    rest >>>= 7;
  } while (rest > 0);
  return bytes;
}

function signed(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (;;) {
    const byte = Number(rest & 127n);
    rest >>= 7n;
    const isLast = (rest === 0n && byte < 64) || (rest === -1n && byte >= 64);
    bytes.push(isLast ? byte : byte | 0x80);
    if (isLast) return bytes;
  }
}

let loaded: Pcg64Module | null | undefined;

/** The module, compiled at the first call; null where WebAssembly may not be compiled (a page's security policy). */
export function pcg64Module(): Pcg64Module | null {
  if (loaded !== undefined) return loaded;
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes()));
    loaded = exports as unknown as Pcg64Module;
  } catch {
    loaded = null;
  }
  return loaded;
}
