// Memory of a device that the engine does not see: it belongs to small objects, and the garbage collector, which counts their few bytes, may put off
// finding that nobody holds them while the device fills up.

/** What objects hold on a device, given back when they are collected; `give` is called once a record. */
export class Owners<Held extends object> {
  private readonly give: (held: Held) => void;
  private readonly owners = new Map<Held, WeakRef<object>>();
  /**
   * Those of this job. The engine would keep the target of a new weak reference until the job's end as well, at a cost that most owners never
   * need: they are released before.
   */
  private readonly recent = new Map<Held, object>();
  private waits = false;
  private readonly forgotten: FinalizationRegistry<Held>;

  constructor(give: (held: Held) => void) {
    this.give = give;
    this.forgotten = new FinalizationRegistry((held) => {
      try {
        this.release(held);
      } catch {
        // After a failure of a device every call fails. Nobody waits for this one; the next that somebody makes tells.
      }
    });
  }

  /** Notes what `owner` holds; the record must not lead to the owner. */
  adopt(owner: object, held: Held): void {
    this.recent.set(held, owner);
    if (this.waits) return;
    this.waits = true;
    void Promise.resolve().then(() => {
      this.waits = false;
      this.watch();
    });
  }

  /** Lets go of the owners of this job, as far as nobody else holds them. */
  private watch(): void {
    for (const [held, owner] of this.recent) {
      this.owners.set(held, new WeakRef(owner));
      this.forgotten.register(owner, held, held);
    }
    this.recent.clear();
  }

  /** Gives back what a record holds, unless that happened before. */
  release(held: Held): void {
    if (this.forget(held)) this.give(held);
  }

  /** Takes a record off the list without giving anything back; whether it stood there. */
  forget(held: Held): boolean {
    if (this.recent.delete(held)) return true;
    this.forgotten.unregister(held);
    return this.owners.delete(held);
  }

  /** Gives back what all owners hold, whoever still holds them. */
  releaseAll(): void {
    for (const held of [...this.recent.keys(), ...this.owners.keys()]) this.release(held);
  }

  /** Collects garbage, where the engine can be asked to, and gives back what collected owners held. */
  reclaim(): void {
    const collect = collector();
    if (!collect) return;
    this.watch();
    collect();
    for (const [held, owner] of this.owners) if (!owner.deref()) this.release(held);
  }
}

let known: (() => void) | null | undefined;

/** The engine's full collection, if it can be asked for one. */
function collector(): (() => void) | null {
  if (known !== undefined) return known;
  known = (globalThis as { gc?: () => void }).gc ?? null;
  if (typeof process === "undefined" || !process.getBuiltinModule) return known;
  try {
    const vm = process.getBuiltinModule("node:vm");
    const v8 = process.getBuiltinModule("node:v8");
    v8.setFlagsFromString("--expose-gc");
    const context = vm.createContext({}, { microtaskMode: "afterEvaluate" });
    const collect = vm.runInContext("gc", context) as () => void;
    v8.setFlagsFromString("--no-expose-gc");
    // What a weak reference was made or asked for stays alive until microtasks have run, which a loop that never waits does not let happen: the
    // context has a queue of its own for that.
    const nothing = new vm.Script("0");
    known = () => {
      nothing.runInContext(context);
      collect();
    };
  } catch {
    // Another engine: `known` is what it shows, or nothing.
  }
  return known;
}
