// The format of server-sent events (WHATWG HTML, section 9.2.6), as far as it is used: "event", "data", comments.

const LIMIT = 16_000_000;

/** Text in, messages out. A message is {event, data}; comments only show that the stream lives. */
export class EventReader {
  #rest = "";
  #event = "";
  #data = [];
  #size = 0;

  /** Return the messages that end in this piece of text. Throws RangeError on a message without an end. */
  feed(text) {
    const messages = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) messages.push({ event: this.#event || "message", data: this.#data.join("\n") });
        this.#event = "";
        this.#data = [];
        this.#size = 0;
      } else this.#field(line);
    }
    if (this.#rest.length + this.#size > LIMIT) throw new RangeError("a message of the stream is too large");
    return messages;
  }

  #field(line) {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#event = value;
    else if (name === "data") {
      this.#data.push(value);
      this.#size += value.length;
    }
  }
}
