// A call of a method that yields: its items as they come, until it ends, fails or is stopped.

import { CallError, requestOf } from "./call.js";

const LONGEST_LINE = 4_000_000;

/**
 * Yield the items of a stream. Throws CallError for the node's errors, and AbortError when stopped.
 *
 * Args: path, args, kwargs: as for app.call. surroundings: {root, session, place, signal, fetch?}.
 */
export async function* streamed(path, args, kwargs, { root, session, place, signal, fetch = globalThis.fetch }) {
  const request = streamRequestOf(path, args, kwargs, place);
  const headers = { "Content-Type": "application/json", ...session.headers() };
  let response;
  try {
    response = await fetch(new URL(request.path, root), { method: "PUT", headers, body: JSON.stringify(request.body), cache: "no-store", signal });
  } catch (error) {
    if (error?.name === "AbortError") throw error;
    throw new CallError({});
  }
  if (!response.ok || !response.body) {
    const answer = await response.json().catch(() => null);
    if (response.status === 401) session.refused(answer?.error?.text);
    throw new CallError(answer?.error ?? { text: `the node answers ${response.status} without a reason` }, response.status);
  }
  for await (const line of linesOf(response.body.getReader())) {
    const message = JSON.parse(line);
    if (message.error) throw new CallError(message.error, 200);
    if (message.end) return;
    if ("item" in message) yield message.item;
  }
  throw new CallError({ text: "the stream broke off: the node is gone, or the connection is" });
}

/** The same as requestOf, for a stream: one of another node goes by comm.stream. */
export function streamRequestOf(path, args, kwargs, place) {
  const request = requestOf(path, args, kwargs, place);
  return { ...request, path: request.path.replace(/^([^/]+)\/comm\/send(?=$|\?)/, "$1/comm/stream") };
}

/** Yield the lines that a reader of bytes gives. */
export async function* linesOf(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      rest += decoder.decode(value, { stream: true });
      if (rest.length > LONGEST_LINE) throw new CallError({ text: "an item is too long for this page" });
      const lines = rest.split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.trim() !== "") yield line;
    }
    if (rest.trim() !== "") yield rest;
  } finally {
    reader.cancel().catch(() => {});
  }
}
