// The two streams of a page: one for what is the same for every page, one for what depends on where the reader looks.

import { Stream } from "./stream.js";
import { halves } from "./wants.js";

const GRAVITY = ["locked", "lost", "connecting", "live", "idle"];

/** The gravest state of several. */
export function gravest(states) {
  return states.reduce((one, other) => (GRAVITY.indexOf(other.state) < GRAVITY.indexOf(one.state) ? other : one));
}

/** Has the face of a Stream. */
export class Streams {
  constructor({ onState, ...options }) {
    this.streams = [0, 1].map(() => new Stream({ ...options, onState: () => onState(this.state) }));
  }

  get state() {
    return gravest(this.streams.map((stream) => stream.state));
  }

  want(want) {
    halves(want).forEach((half, index) => this.streams[index].want(half));
  }

  retry() {
    for (const stream of this.streams) stream.retry();
  }
}
