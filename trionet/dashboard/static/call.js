// Calls from the page: the node's ordinary HTTP calls, so the token's scopes and the node's refusals hold for them.

/** A failed call. code and name are the node's; status is HTTP's, 0 where no answer came. */
export class CallError extends Error {
  constructor({ code = 0, name = "NoAnswer", text = "the node does not answer", ...details }, status = 0) {
    super(text);
    Object.assign(this, { code, name, text, status, details });
  }
}

/** The request of a call: {path, body}. Keyword arguments travel as query parameters, each as JSON. */
export function requestOf(path, args, kwargs, placeOf) {
  const [place, service, method, ...rest] = path.split("/");
  if (!place || !service || !method || rest.length) throw new TypeError(`a call is gid/service/method, not ${path}`);
  const found = placeOf(place);
  if (!found?.node) return { path: `${[found?.gid ?? place, service, method].map(encodeURIComponent).join("/")}${queryOf(kwargs)}`, body: args };
  const remote = { node: found.node, service, method };
  const query = Object.keys(kwargs).length ? queryOf({ kwargs }) : "";
  return { path: `local/comm/send${query}`, body: [args, remote] };
}

function queryOf(kwargs) {
  const parts = Object.entries(kwargs).map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(JSON.stringify(value))}`);
  return parts.length ? `?${parts.join("&")}` : "";
}

/** An address as the node's JSON has it: "10.0.0.1:8080" is {ip, port}; null for anything else. */
export function addressOf(text) {
  const parts = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(text ?? "");
  return parts ? { ip: parts[1], port: Number(parts[2]) } : null;
}

/**
 * Make the function that calls.
 *
 * Args:
 *   root: the node's root URL.
 *   session: gives headers() and hears refused().
 *   place(name): {node: address} of another member by its SID, {gid: "local"} of the serving node; null for any other name.
 */
export function caller({ root, session, place, surroundings = globalThis }) {
  return async function call(path, args = [], kwargs = {}, { signal, timeout_s } = {}) {
    const request = requestOf(path, args, kwargs, place);
    const headers = { "Content-Type": "application/json", ...session.headers() };
    if (timeout_s) headers["Trionet-Timeout"] = String(timeout_s);
    let response;
    try {
      response = await surroundings.fetch(new URL(request.path, root), {
        method: "PUT",
        headers,
        body: JSON.stringify(request.body),
        cache: "no-store",
        signal,
      });
    } catch (error) {
      if (error?.name === "AbortError") throw error;
      throw new CallError({});
    }
    const answer = await response.json().catch(() => null);
    if (response.ok && answer !== null && !answer.error) return answer;
    if (response.status === 401) session.refused(answer?.error?.text);
    throw new CallError(answer?.error ?? { text: `the node answers ${response.status} without a reason` }, response.status);
  };
}
