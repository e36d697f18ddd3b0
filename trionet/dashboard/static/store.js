// The documents that the node streams, kept up to date, and who wants which.

import { merged } from "./patch.js";
import { combined } from "./wants.js";

const ALWAYS = new Set(["feed"]); // what the node says of the stream itself

export class Store {
  #documents = new Map();
  #listeners = new Map();
  #wants = new Map();
  #wanted;

  /** Args: onWanted(): the sum of all wants may have changed. */
  constructor(onWanted = () => {}) {
    this.#wanted = onWanted;
  }

  /** The document of a topic, or undefined until it came. */
  get(topic) {
    return this.#documents.get(topic);
  }

  /** Call listener(document) now, if there is one, and at each change. Returns a function that ends it. */
  on(topic, listener) {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners);
    listeners.add(listener);
    if (this.#documents.has(topic)) listener(this.#documents.get(topic));
    return () => listeners.delete(listener);
  }

  /** Say what `owner` wants: {topics, of?, node?, rumor?}; null for nothing any more. */
  want(owner, want) {
    if (want) this.#wants.set(owner, want);
    else this.#wants.delete(owner);
    this.#wanted();
  }

  /**
   * Forget the documents that nobody wants. To be called when the stream is told what is wanted, and not before: the
   * stream sends a document as a whole when it is new there, so one that is dropped while it is streamed stays away.
   */
  dropUnwanted() {
    const { topics } = this.wanted;
    for (const topic of this.#documents.keys()) if (!topics.includes(topic) && !ALWAYS.has(topic)) this.#documents.delete(topic);
  }

  get wanted() {
    return combined(this.#wants.values());
  }

  /** Take a message of the stream: a whole document, or a patch to it. */
  take(topic, data, whole) {
    if (!whole && !this.#documents.has(topic)) return;
    const document = whole ? data : merged(this.#documents.get(topic), data);
    this.#documents.set(topic, document);
    for (const listener of [...(this.#listeners.get(topic) ?? [])]) {
      try {
        listener(document);
      } catch (error) {
        console.error(`a listener of ${topic} failed`, error);
      }
    }
  }

  /** Forget the document of a topic, because what it is about has changed. */
  drop(topic) {
    this.#documents.delete(topic);
  }
}
