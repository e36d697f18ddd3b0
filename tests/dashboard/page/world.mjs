// What surrounds a page, made for tests: a clock that stands until it is told to pass, a network, locks, channels.

export class World {
  now = 0;
  count = 0;
  #timers = new Map();
  #next = 1;
  #made = [];

  Math = { random: () => 0.5 };
  Date = { now: () => this.now };
  setTimeout = (run, wait) => this.#timer(run, wait, 0);
  setInterval = (run, wait) => this.#timer(run, wait, wait);
  clearTimeout = (id) => this.#timers.delete(id);
  clearInterval = (id) => this.#timers.delete(id);

  fetch = (url, options) => {
    this.count += 1;
    return new Promise((resolve, reject) => this.#made.push(new Request(url, options, resolve, reject)));
  };

  #timer(run, wait, every) {
    this.#timers.set(this.#next, { run, at: this.now + wait, every });
    return this.#next++;
  }

  /** Let time pass; what is due runs in order. */
  pass(milliseconds) {
    const end = this.now + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end).sort(([, one], [, other]) => one.at - other.at)[0];
      if (!due) break;
      const [id, timer] = due;
      this.now = timer.at;
      if (timer.every) timer.at += timer.every;
      else this.#timers.delete(id);
      timer.run();
    }
    this.now = end;
  }

  /** Let all that is ready run. */
  async settle() {
    for (let turn = 0; turn < 30; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  /** The requests so far, once there are `count`. */
  async requests(count) {
    await this.settle();
    if (this.#made.length !== count) throw new Error(`${this.#made.length} requests, not ${count}`);
    return this.#made;
  }
}

class Request {
  #resolve;
  #reject;
  #controller;

  constructor(url, { headers, signal }, resolve, reject) {
    Object.assign(this, { url, headers, signal });
    this.#resolve = resolve;
    this.#reject = reject;
    signal.addEventListener("abort", () => {
      reject(signal.reason);
      this.#try(() => this.#controller.error(signal.reason));
    });
  }

  open() {
    const body = new ReadableStream({ start: (controller) => (this.#controller = controller) });
    this.#resolve({ ok: true, status: 200, body });
  }

  send(text) {
    this.#try(() => this.#controller.enqueue(new TextEncoder().encode(text)));
  }

  end() {
    this.#controller.close();
  }

  fail() {
    this.#reject(new TypeError("network"));
  }

  refuse(status, body) {
    this.#resolve({ ok: false, status, text: async () => JSON.stringify(body) });
  }

  #try(action) {
    try {
      action();
    } catch {
      // The stream has ended: what comes late goes nowhere.
    }
  }
}

/** The pages of one browser: locks and channels among them. Messages arrive when time passes. */
export class Browser {
  #queue = [];
  #held = null;
  #channels = new Set();

  constructor(world) {
    this.world = world;
    const browser = this;
    this.surroundings = Object.assign(Object.create(world), {
      navigator: { locks: { request: (name, options, callback) => browser.#request(options, callback) } },
      BroadcastChannel: class {
        constructor() {
          browser.#channels.add(this);
        }

        postMessage(data) {
          const copy = structuredClone(data);
          for (const other of browser.#channels) {
            if (other !== this) world.setTimeout(() => browser.#channels.has(other) && other.onmessage?.({ data: structuredClone(copy) }), 0);
          }
        }

        close() {
          browser.#channels.delete(this);
        }
      },
    });
  }

  #request({ signal }, callback) {
    return new Promise((resolve, reject) => {
      const entry = { callback, resolve };
      this.#queue.push(entry);
      signal?.addEventListener("abort", () => {
        const index = this.#queue.indexOf(entry);
        if (index < 0) return;
        this.#queue.splice(index, 1);
        reject(signal.reason);
      });
      this.world.setTimeout(() => this.#grant(), 0);
    });
  }

  #grant() {
    if (this.#held || !this.#queue.length) return;
    const entry = this.#queue.shift();
    this.#held = entry;
    Promise.resolve(entry.callback()).then((value) => {
      this.#held = null;
      entry.resolve(value);
      this.#grant();
    });
  }
}
