import { expect, test } from "vitest";
import { RandomStream } from "./random-stream.ts";

// drawn with numpy 1.24.2: default_rng(seed), then the calls in this order
const drawn = JSON.parse(`[
  {"seed":"0","raw":["11749869230777074271","4976686463289251617","755828109848996024"],"ints":[0,0,1,0,81,11,912755583],"random":0.6066357757671799,"ints2":[7,3,5,8,6],"shuffle":[4,16,5,2,3,12,17,13,11,1,0,8,15,10,14,9,6,7],"choice":[10,7,5,8],"after":"5937442282338639597"},
  {"seed":"1","raw":["9441442522235856127","17532960557476522086","2659275481604167885"],"ints":[1,2,1,0,31,15,423326451],"random":0.8277025938204418,"ints2":[8,6,7,4,5],"shuffle":[6,0,9,7,13,3,2,17,15,10,16,1,11,12,14,4,5,8],"choice":[6,9,5,7],"after":"16921155999678958771"},
  {"seed":"9","raw":["16053264345985615649","5290843651973776416","11126119562532529086"],"ints":[1,2,4,0,71,16,915380126],"random":0.8603936491828846,"ints2":[8,3,7,3,3],"shuffle":[15,0,2,1,8,17,12,10,16,7,13,11,6,9,4,5,14,3],"choice":[6,4,6,10],"after":"2449257907776524918"},
  {"seed":"12345","raw":["4193609425186963869","5843160025838961886","14708796524633321433"],"ints":[1,2,6,0,39,15,598308757],"random":0.18673418560371335,"ints2":[7,7,3,3,4],"shuffle":[8,9,15,16,11,1,5,7,0,12,10,14,13,2,3,17,6,4],"choice":[10,7,7,5],"after":"9130915850206751578"},
  {"seed":"4294967303","raw":["14206593023844375757","2064693230803885548","3488237491050697490"],"ints":[0,0,3,0,43,10,501728474],"random":0.9928265902804105,"ints2":[6,3,3,7,6],"shuffle":[0,3,6,17,14,5,16,11,9,4,1,12,13,7,10,2,8,15],"choice":[7,5,8,8],"after":"1137135425937993707"},
  {"seed":"9223372036854788153","raw":["9116129000838757916","10625643075464141531","787597703341980114"],"ints":[0,2,3,0,43,0,694739517],"random":0.23443641074401056,"ints2":[8,4,6,6,3],"shuffle":[3,6,17,8,14,1,5,10,4,7,0,12,11,16,13,9,2,15],"choice":[4,5,8,7],"after":"16634692387403027131"}
]`) as {
  seed: string;
  raw: string[];
  ints: number[];
  random: number;
  ints2: number[];
  shuffle: number[];
  choice: number[];
  after: string;
}[];

test.each(drawn)("seed $seed draws as NumPy does", (want) => {
  const g = new RandomStream(BigInt(want.seed));
  expect([0, 1, 2].map(() => String(g.raw()))).toEqual(want.raw);
  expect([2, 3, 7, 1, 100, 18, 1_000_000_007].map((n) => g.integer(0, n))).toEqual(want.ints);
  expect(g.uniform()).toBe(want.random);
  for (let i = 0; i < 4; i++) g.uniform();
  expect([0, 1, 2, 3, 4].map(() => g.integer(3, 9))).toEqual(want.ints2);
  expect(g.permutation([...Array(18).keys()])).toEqual(want.shuffle);
  const copy = RandomStream.fromState(g.state());
  g.permutation([...Array(18).keys()]);
  expect([0, 1, 2, 3].map(() => g.integer(3, 11))).toEqual(want.choice);
  expect(String(g.raw())).toBe(want.after);
  copy.permutation([...Array(18).keys()]);
  expect([0, 1, 2, 3].map(() => copy.integer(3, 11))).toEqual(want.choice);
});
