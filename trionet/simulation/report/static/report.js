// A page about one run of `trionet simulate`: what failed, where it went wrong, its time line, and how to repeat it.

import { append, h, svg } from "./dom.js";
import { count, plural } from "./format.js";
import { TimeLine } from "./run-line.js";
import { seconds } from "./sight.js";
import { plain } from "./words.js";

/** Show a document, as Python writes it, in an empty page. */
export function show(page, report) {
  const first = report.violations[0];
  const title = report.trial ? `Seed ${report.trial.seed}` : "A run";
  page.title = `${title}: ${first ? first.invariant : "nothing violated"}`;
  const flags = flagsOf(report);
  const line = new TimeLine(report, flags);
  const main = h("main", { id: "main", tabindex: -1 },
    failureCard(title, report),
    comparisonCard(report, line),
    line.element,
    trialCard(report));
  append(page.body, [h("a", { class: "skip", href: "#main" }, "Skip to the content"), topBar(title, report), main]);
  line.start();
}

/** The moments that are marked: the violations, and the first differences. */
function flagsOf(report) {
  const flags = report.violations.slice(0, 1).map((violation) => ({ at: violation.at, kind: "failure", label: "✕ failure" }));
  const { event, action } = report.comparison ?? {};
  if (event) flags.push({ at: event.at, kind: "difference", label: action?.at === event.at ? "≠ differs" : "≠ event" });
  if (action && action.at !== event?.at) flags.push({ at: action.at, kind: "difference", label: "≠ action" });
  return flags;
}

function topBar(title, report) {
  return h("header", { class: "top" },
    h("div", { class: "brand" },
      svg("svg", { viewBox: "0 0 24 24", width: 20, height: 20, "aria-hidden": "true", class: "mark" },
        svg("path", { d: "M12 5.5L5 17.5M12 5.5L19 17.5M5 17.5H19" }),
        svg("circle", { cx: 12, cy: 5.5, r: 3 }), svg("circle", { cx: 5, cy: 17.5, r: 3 }), svg("circle", { cx: 19, cy: 17.5, r: 3 })),
      h("span", { class: "brand-name" }, "trionet simulate"),
      h("span", { class: "brand-where" }, title)),
    h("span", { class: "muted report-version" }, report.version));
}

function failureCard(title, report) {
  const { violations, run } = report;
  const size = `${plural(run.nodes.length + run.nodes_left_out, "node")}, ${seconds(run.end, run.end)}, ${plural(run.events_in_trace, "event")}`;
  if (!violations.length) {
    return h("section", { class: "card verdict fine" }, h("h1", null, `${title}: nothing violated`), h("p", { class: "muted" }, size));
  }
  const [first, ...others] = violations;
  return h("section", { class: "card verdict failed" },
    h("h1", null, svg("svg", { viewBox: "0 0 14 14", width: 14, height: 14, "aria-hidden": "true" }, svg("path", { class: "verdict-sign", d: "M2 2l10 10m0-10l-10 10" })),
      `${title} fails: `, h("span", { class: "mono" }, first.invariant)),
    h("p", { class: "violation mono" }, first.text),
    h("p", { class: "muted" }, `found at ${seconds(first.at)}`, first.nodes.length ? `, concerns ${first.nodes.join(", ")}` : "", ` · ${size}`),
    others.length > 0 && h("details", null,
      h("summary", null, `${count(others.length + report.violations_left_out)} more`),
      h("ul", { class: "violations" }, others.map((one) => h("li", null, h("span", { class: "mono" }, `${one.invariant}, at ${seconds(one.at)}: `), one.text))),
      report.violations_left_out > 0 && h("p", { class: "muted" }, `${count(report.violations_left_out)} more are left out`)));
}

// ----------------------------------------------------------------------------------------------------- differences

function comparisonCard(report, line) {
  const { comparison } = report;
  if (!comparison) {
    return report.violations.length > 0 && h("section", { class: "card" },
      h("h2", null, "Where it goes wrong"),
      h("p", { class: "card-body muted" }, "There is no passing run to compare with. trionet simulate looks for one without some of the faults, and with near seeds."));
  }
  const { event, action } = comparison;
  const parts = [
    event && differencePart("The first event that differs", event, line),
    action && differencePart("The first thing that a node does differently", action, line),
  ];
  return h("section", { class: "card comparison" },
    h("div", { class: "card-head" }, h("h2", null, "Where it goes wrong"), h("span", { class: "muted" }, `compared with ${comparison.with}${comparison.command ? ", which passes" : ""}`)),
    h("div", { class: "card-body differences" }, event || action ? parts : h("p", null, "Calls and handlers are the same in both runs; what differs is within the program.")),
    comparison.command && h("details", { class: "card-body" }, h("summary", null, "Repeat the passing run"), command(comparison.command)));
}

function differencePart(title, difference, line) {
  const here = difference.failing ? plain(difference.failing) : "nothing more happens";
  const there = difference.passing ? `${plain(difference.passing)}` : "nothing more happens";
  const when = (event) => (event ? h("span", { class: "muted nowrap" }, seconds(event.at)) : null);
  return h("div", { class: "difference" },
    h("h3", null, title),
    h("dl", { class: "pairs" },
      h("dt", null, "this run"), h("dd", { class: "here" }, here, " ", when(difference.failing)),
      h("dt", null, "other run"), h("dd", null, there, " ", when(difference.passing))),
    h("div", { class: "toolbar" }, h("button", { type: "button", class: "button", onclick: () => line.lookAt(difference.at, difference.failing) }, `Show ${seconds(difference.at)} in the time line`)),
    difference.before.length > 0 && h("details", null,
      h("summary", null, "before, in both runs"),
      h("ol", { class: "before" }, difference.before.map((event) => h("li", null, when(event), " ", plain(event))))));
}

// ---------------------------------------------------------------------------------------------------------- trial

function trialCard(report) {
  const { trial } = report;
  if (!trial) return null;
  return h("section", { class: "card" },
    h("h2", null, "Repeat it"),
    h("div", { class: "card-body stack" },
      command(trial.command),
      trial.file && h("details", null, h("summary", null, "trial.json, to be saved first"), h("textarea", { class: "field", readOnly: true, rows: 6, "aria-label": "trial.json", value: trial.file })),
      h("h3", null, trial.faults.length ? plural(trial.faults.length + trial.faults_left_out, "fault") : "No faults"),
      h("ol", { class: "faults" }, trial.faults.map((fault) => h("li", { class: "mono" }, fault))),
      trial.faults_left_out > 0 && h("p", { class: "muted" }, `${count(trial.faults_left_out)} more are left out`),
      h("h3", null, "The trial"),
      h("dl", { class: "pairs" }, trial.fields.map(([name, value]) => [h("dt", null, name), h("dd", { class: "mono" }, value)]))));
}

function command(text) {
  const code = h("pre", { class: "command", tabindex: 0, role: "region", "aria-label": "Command" }, text);
  const button = h("button", { type: "button", class: "button", onclick: copy }, "Copy");
  function copy() {
    const selection = getSelection();
    selection.selectAllChildren(code);
    const isCopied = document.execCommand("copy"); // the clipboard of navigator needs a secure context, which a file is not
    button.textContent = isCopied ? "Copied" : "Selected: copy it";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }
  return h("div", { class: "command-line" }, code, button);
}
