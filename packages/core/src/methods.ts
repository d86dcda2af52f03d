// The fluent form: every function of one leading tensor as a method, `x.add(1).sum(-1)`. Documentation stands at the functions.

import type { TypedArray } from "./dtype.ts";
import { ShapeError } from "./errors.ts";
import * as elementwise from "./ops/elementwise.ts";
import * as movement from "./ops/movement.ts";
import * as reduction from "./ops/reduction.ts";
import * as indexing from "./ops/indexing.ts";
import * as linalg from "./ops/linalg.ts";
import { download } from "./realize.ts";
import { show } from "./shape.ts";
import { Tensor } from "./tensor.ts";

/** A function whose first argument becomes `this`. */
type Method<F> = F extends (x: Tensor, ...rest: infer R) => infer O
  ? (...rest: R) => O
  : F extends (x: infer _A, ...rest: infer R) => infer O
    ? (...rest: R) => O
    : never;

declare module "./tensor.ts" {
  interface Tensor {
    neg: Method<typeof elementwise.neg>;
    abs: Method<typeof elementwise.abs>;
    sign: Method<typeof elementwise.sign>;
    exp: Method<typeof elementwise.exp>;
    expm1: Method<typeof elementwise.expm1>;
    log: Method<typeof elementwise.log>;
    log1p: Method<typeof elementwise.log1p>;
    sqrt: Method<typeof elementwise.sqrt>;
    rsqrt: Method<typeof elementwise.rsqrt>;
    reciprocal: Method<typeof elementwise.reciprocal>;
    sin: Method<typeof elementwise.sin>;
    cos: Method<typeof elementwise.cos>;
    tanh: Method<typeof elementwise.tanh>;
    sigmoid: Method<typeof elementwise.sigmoid>;
    erf: Method<typeof elementwise.erf>;
    floor: Method<typeof elementwise.floor>;
    ceil: Method<typeof elementwise.ceil>;
    round: Method<typeof elementwise.round>;
    not: Method<typeof elementwise.not>;
    square: Method<typeof elementwise.square>;
    relu: Method<typeof elementwise.relu>;
    silu: Method<typeof elementwise.silu>;
    softplus: Method<typeof elementwise.softplus>;
    isNaN: Method<typeof elementwise.isNaN>;
    add: Method<typeof elementwise.add>;
    sub: Method<typeof elementwise.sub>;
    mul: Method<typeof elementwise.mul>;
    div: Method<typeof elementwise.div>;
    pow: Method<typeof elementwise.pow>;
    mod: Method<typeof elementwise.mod>;
    maximum: Method<typeof elementwise.maximum>;
    minimum: Method<typeof elementwise.minimum>;
    equal: Method<typeof elementwise.equal>;
    notEqual: Method<typeof elementwise.notEqual>;
    less: Method<typeof elementwise.less>;
    lessEqual: Method<typeof elementwise.lessEqual>;
    greater: Method<typeof elementwise.greater>;
    greaterEqual: Method<typeof elementwise.greaterEqual>;
    and: Method<typeof elementwise.and>;
    or: Method<typeof elementwise.or>;
    xor: Method<typeof elementwise.xor>;
    clamp: Method<typeof elementwise.clamp>;
    gelu: Method<typeof elementwise.gelu>;
    cast: Method<typeof elementwise.cast>;
    reshape: Method<typeof movement.reshape>;
    permute: Method<typeof movement.permute>;
    transpose: Method<typeof movement.transpose>;
    broadcastTo: Method<typeof movement.broadcastTo>;
    unsqueeze: Method<typeof movement.unsqueeze>;
    squeeze: Method<typeof movement.squeeze>;
    slice: Method<typeof movement.slice>;
    narrow: Method<typeof movement.narrow>;
    flip: Method<typeof movement.flip>;
    pad: Method<typeof movement.pad>;
    split: Method<typeof movement.split>;
    roll: Method<typeof movement.roll>;
    tile: Method<typeof movement.tile>;
    repeat: Method<typeof movement.repeat>;
    sum: Method<typeof reduction.sum>;
    prod: Method<typeof reduction.prod>;
    mean: Method<typeof reduction.mean>;
    variance: Method<typeof reduction.variance>;
    max: Method<typeof reduction.max>;
    min: Method<typeof reduction.min>;
    any: Method<typeof reduction.any>;
    all: Method<typeof reduction.all>;
    norm: Method<typeof reduction.norm>;
    logSumExp: Method<typeof reduction.logSumExp>;
    softmax: Method<typeof reduction.softmax>;
    logSoftmax: Method<typeof reduction.logSoftmax>;
    argmax: Method<typeof reduction.argmax>;
    argmin: Method<typeof reduction.argmin>;
    cumsum: Method<typeof reduction.cumsum>;
    cumprod: Method<typeof reduction.cumprod>;
    cummax: Method<typeof reduction.cummax>;
    cummin: Method<typeof reduction.cummin>;
    sort: Method<typeof reduction.sort>;
    argsort: Method<typeof reduction.argsort>;
    topK: Method<typeof reduction.topK>;
    takeAlong: Method<typeof indexing.takeAlong>;
    take: Method<typeof indexing.take>;
    scatterAdd: Method<typeof indexing.scatterAdd>;
    matmul: Method<typeof linalg.matmul>;
    /** The values on the host, row-major, as the dtype's typed array (a copy). Runs what is needed. */
    data(): Promise<TypedArray>;
    /** The values as (nested) JavaScript numbers. */
    toArray(): Promise<unknown>;
    /** The value of a one-element tensor. */
    item(): Promise<number>;
  }
}

const functions = {
  neg: elementwise.neg,
  abs: elementwise.abs,
  sign: elementwise.sign,
  exp: elementwise.exp,
  expm1: elementwise.expm1,
  log: elementwise.log,
  log1p: elementwise.log1p,
  sqrt: elementwise.sqrt,
  rsqrt: elementwise.rsqrt,
  reciprocal: elementwise.reciprocal,
  sin: elementwise.sin,
  cos: elementwise.cos,
  tanh: elementwise.tanh,
  sigmoid: elementwise.sigmoid,
  erf: elementwise.erf,
  floor: elementwise.floor,
  ceil: elementwise.ceil,
  round: elementwise.round,
  not: elementwise.not,
  square: elementwise.square,
  relu: elementwise.relu,
  silu: elementwise.silu,
  softplus: elementwise.softplus,
  isNaN: elementwise.isNaN,
  add: elementwise.add,
  sub: elementwise.sub,
  mul: elementwise.mul,
  div: elementwise.div,
  pow: elementwise.pow,
  mod: elementwise.mod,
  maximum: elementwise.maximum,
  minimum: elementwise.minimum,
  equal: elementwise.equal,
  notEqual: elementwise.notEqual,
  less: elementwise.less,
  lessEqual: elementwise.lessEqual,
  greater: elementwise.greater,
  greaterEqual: elementwise.greaterEqual,
  and: elementwise.and,
  or: elementwise.or,
  xor: elementwise.xor,
  clamp: elementwise.clamp,
  gelu: elementwise.gelu,
  cast: elementwise.cast,
  reshape: movement.reshape,
  permute: movement.permute,
  transpose: movement.transpose,
  broadcastTo: movement.broadcastTo,
  unsqueeze: movement.unsqueeze,
  squeeze: movement.squeeze,
  slice: movement.slice,
  narrow: movement.narrow,
  flip: movement.flip,
  pad: movement.pad,
  split: movement.split,
  roll: movement.roll,
  tile: movement.tile,
  repeat: movement.repeat,
  sum: reduction.sum,
  prod: reduction.prod,
  mean: reduction.mean,
  variance: reduction.variance,
  max: reduction.max,
  min: reduction.min,
  any: reduction.any,
  all: reduction.all,
  norm: reduction.norm,
  logSumExp: reduction.logSumExp,
  softmax: reduction.softmax,
  logSoftmax: reduction.logSoftmax,
  argmax: reduction.argmax,
  argmin: reduction.argmin,
  cumsum: reduction.cumsum,
  cumprod: reduction.cumprod,
  cummax: reduction.cummax,
  cummin: reduction.cummin,
  sort: reduction.sort,
  argsort: reduction.argsort,
  topK: reduction.topK,
  takeAlong: indexing.takeAlong,
  take: indexing.take,
  scatterAdd: indexing.scatterAdd,
  matmul: linalg.matmul,
};

for (const [name, fn] of Object.entries(functions)) {
  Object.defineProperty(Tensor.prototype, name, {
    configurable: true,
    value(this: Tensor, ...rest: unknown[]) {
      return (fn as (...args: unknown[]) => unknown)(this, ...rest);
    },
  });
}

Object.assign(Tensor.prototype, {
  data(this: Tensor): Promise<TypedArray> {
    return download(this);
  },
  async toArray(this: Tensor): Promise<unknown> {
    const data = await download(this, { widen: true });
    let at = 0;
    const build = (axis: number): unknown =>
      axis === this.rank ? data[at++] : Array.from({ length: this.shape[axis]! }, () => build(axis + 1));
    return build(0);
  },
  async item(this: Tensor): Promise<number> {
    if (this.size !== 1) {
      throw new ShapeError("item", "needs exactly one element", { got: show(this.shape) });
    }
    return (await download(this, { widen: true }))[0]!;
  },
});
