// The page of the development broker. Every text of a message goes through textContent or a text node: the server's
// Content-Security-Policy refuses everything else.
"use strict";

const $ = (id) => document.getElementById(id);
const shown = { run: "", last: 0, limit: 500, destination: "", paused: false, waiting: [], source: null, retry: 0 };

// -- small helpers -------------------------------------------------------------------------------------------------

/** Make an element. Properties that begin with "on" are listeners; children are elements or texts. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };

/** Make the children of `parent` those of `items`. Elements that stay are kept, so that they do not lose the focus. */
function sync(parent, items, key, create, update) {
  const wanted = new Set(items.map((item) => String(key(item))));
  const there = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  for (const [name, child] of there) if (!wanted.has(name)) child.remove();
  let next = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    const child = there.get(name) ?? create(item);
    child.dataset.key = name;
    update(child, item);
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
}

function notice(text, kind = "done") {
  $("notice").dataset.kind = kind;
  $("notice-close").hidden = false;
  write($("notice-text"), text);
}

function closeNotice() {
  delete $("notice").dataset.kind;
  $("notice-close").hidden = true;
  write($("notice-text"), "");
}

/** Ask the server, and return the answer. Shows what went wrong, and returns null then. */
async function ask(path, given) {
  const options = given && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(given),
  };
  try {
    const response = await fetch(path, options);
    const answer = await response.json();
    if (response.ok) return answer;
    notice(answer.error, "error");
  } catch {
    notice("The broker does not answer. Does it still run?", "error");
  }
  return null;
}

async function act(path, given) {
  const answer = await ask(path, given);
  if (answer) notice(answer.done);
  return answer !== null;
}

const plural = (count, one) => `${count} ${count === 1 ? one : `${one}s`}`;

function sizeText(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function timeText(seconds) {
  const time = new Date(seconds * 1000);
  const pad = (number, digits) => String(number).padStart(digits, "0");
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map((part) => pad(part, 2)).join(":");
  return `${clock}.${pad(time.getMilliseconds(), 3)}`;
}

// -- the stream of events ------------------------------------------------------------------------------------------

/** Open the stream of events. With `again`, it continues after the last message. */
function connect(again = false) {
  clearTimeout(shown.retry);
  shown.source?.close();
  const parameters = { text: $("search-text").value, destination: shown.destination };
  if (again && shown.last) parameters.after = `${shown.run}-${shown.last}`;
  const source = new EventSource(`events?${new URLSearchParams(parameters)}`);
  shown.source = source;
  const on = (name, handle) => source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
  on("hello", hello);
  on("message", arrived);
  on("state", showState);
  on("gap", ({ missed }) => showGap(missed));
  on("forget", clearMessages);
  source.onerror = () => {
    live("off", "The connection is lost; trying again");
    if (source.readyState === EventSource.CLOSED) shown.retry = setTimeout(connect, 3000, true);
  };
}

function live(state, text) {
  $("live").dataset.state = state;
  write($("live"), text);
}

function showLive() {
  if (shown.paused) live("wait", `Paused, ${plural(shown.waiting.length, "new message")}`);
  else live("on", "Live");
}

function hello(facts) {
  if (!facts.continues || facts.run !== shown.run) clearMessages();
  shown.run = facts.run;
  shown.limit = facts.limits.messages;
  write($("facts"), `${facts.address} · ${facts.server}`);
  const size = facts.limits.body.toLocaleString("en");
  write($("limits"), `Newest first. The page keeps the last ${shown.limit} messages, and ${size} bytes of each body.`);
  offerFaults(facts);
  showLive();
}

// -- messages ------------------------------------------------------------------------------------------------------

function clearMessages() {
  shown.last = 0;
  shown.waiting = [];
  $("message-list").replaceChildren();
  showCount();
}

function arrived(message) {
  shown.last = Math.max(shown.last, message.number);
  if (!shown.paused) return addMessage(message);
  shown.waiting.push(message);
  if (shown.waiting.length > shown.limit) shown.waiting.shift();
  showLive();
}

function addMessage(message) {
  const list = $("message-list");
  list.prepend(messageRow(message));
  while (list.children.length > shown.limit) list.lastElementChild.remove();
  showCount();
}

function showGap(missed) {
  const text = `${plural(missed, "message")} came faster than this page could show.`;
  if (!shown.paused) $("message-list").prepend(make("li", { className: "gap" }, text));
}

function showCount() {
  const searching = $("search-text").value || shown.destination;
  $("no-messages").hidden = $("message-list").children.length > 0;
  write($("no-messages"), searching ? "No kept message matches." : "No messages yet.");
}

function messageRow(message) {
  const details = make(
    "details",
    { ontoggle: () => details.open && details.children.length === 1 && showDetail(details, message) },
    make(
      "summary",
      {},
      make("time", {}, timeText(message.time)),
      make("span", { className: "to", title: message.destination }, message.destination),
      make("span", { className: "kind", "data-kind": message.kind }, message.kind),
      make("span", { className: "preview" }, message.preview),
      make("span", { className: "size" }, sizeText(message.size)),
    ),
  );
  return make("li", { className: "new", "data-number": message.number }, details);
}

async function showDetail(details, message) {
  const box = make("div", { className: "detail" }, make("p", { className: "hint" }, "Loading"));
  details.append(box);
  const found = await ask(`messages/${message.number}`);
  if (!found) {
    box.replaceChildren(make("p", { className: "hint" }, "This message is not kept any more."));
    return;
  }
  const pairs = [["destination", found.destination], ["message-id", found.id], ...found.headers];
  const head = pairs.map((pair) => pair.join(": ")).join("\n");
  const body = found.raw ?? found.text;
  const notes = [found.note];
  if (found.kept < found.size) notes.push(`Only the first ${found.kept} of ${found.size} bytes are kept.`);
  const note = notes.filter(Boolean).join(" ");
  box.replaceChildren(
    make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    found.kind === "empty"
      ? make("p", { className: "hint" }, "The body is empty.")
      : make("pre", { tabIndex: 0, role: "region", "aria-label": `Body, ${found.kind}`, "data-kind": found.kind }, found.text),
    make("p", { className: "hint" }, note),
    make(
      "div",
      { className: "buttons" },
      make("button", { type: "button", onclick: () => copy(body, "body") }, "Copy body"),
      make("button", { type: "button", onclick: () => copy(`${head}\n\n${body}`, "message") }, "Copy message"),
      make("button", { type: "button", onclick: () => act("send-again", { number: found.number }) }, "Send again"),
      found.raw === null ? "" : make("button", { type: "button", onclick: () => edit(found) }, "Edit and send"),
    ),
  );
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // The clipboard of the script needs HTTPS or an address of this machine. The older way needs neither.
    const field = make("textarea", { value: text, className: "hidden" });
    const focused = document.activeElement;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    focused?.focus();
    if (!copied) return notice("The browser does not permit copying.", "error");
  }
  notice(`The ${what} is copied.`);
}

// -- the state of the broker ---------------------------------------------------------------------------------------

function showState(state) {
  $("no-destinations").hidden = state.destinations.length > 0;
  $("destination-table").hidden = state.destinations.length === 0;
  sync($("destination-rows"), state.destinations, (row) => row[0], destinationRow, (element, row) => {
    row.slice(1).forEach((count, at) => {
      const cell = element.children[at + 1];
      write(cell, String(count));
      cell.dataset.zero = count === 0;
    });
    element.querySelector("button").setAttribute("aria-pressed", row[0] === shown.destination);
  });
  sync($("known"), state.destinations, (row) => row[0], (row) => make("option", { value: row[0] }), () => {});
  more("more-destinations", state.more_destinations, "destination");
  $("no-clients").hidden = state.clients.length > 0;
  sync($("client-list"), state.clients, (each) => each.number, clientRow, updateClient);
  more("more-clients", state.more_clients, "client");
  const frames = Object.entries(state.received).map(([command, count]) => `${command} ${count}`);
  write($("received"), frames.length ? `Frames received: ${frames.join(", ")}.` : "");
  showFaults(state);
}

function more(id, count, what) {
  write($(id), count ? `And ${plural(count, what)} more.` : "");
}

function destinationRow([name]) {
  const button = make("button", { type: "button", title: "Show only its messages", onclick: () => choose(name) });
  for (const part of name.split(/(?<=[/.])/)) button.append(part, make("wbr"));
  return make("tr", {}, make("th", { scope: "row" }, button), ...[1, 2, 3, 4].map(() => make("td")));
}

function choose(name) {
  shown.destination = shown.destination === name ? "" : name;
  $("filter").hidden = !shown.destination;
  write($("filter-name"), shown.destination);
  if (shown.destination && !/[*#>]/.test(name)) $("send-destination").value = name;
  for (const button of $("destination-rows").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", button.textContent === shown.destination);
  }
  connect();
}

function clientRow() {
  return make("li", {}, make("span", { className: "name" }), " ", make("span", { className: "about" }), make("ul"));
}

function updateClient(element, client) {
  const [name, about, list] = [element.children[0], element.children[1], element.children[2]];
  const user = client.login ? `, ${client.login}` : "";
  write(name, `${client.address}${user}`);
  const beats = client.heart_beat.some(Boolean) ? `, heart-beats ${client.heart_beat.join(" / ")} ms` : "";
  const states = [client.frozen && "frozen", client.full && "reads too slowly"].filter(Boolean).map((word) => `, ${word}`);
  write(about, client.connected ? `STOMP ${client.version}${beats}${states.join("")}` : `no session${states.join("")}`);
  sync(list, client.subscriptions, (each) => each[0] || each[1], () => make("li"), (item, [id, destination, ack, unread, prefetch]) => {
    const limit = prefetch ? ` of at most ${prefetch}` : "";
    write(item, `${destination}, ack ${ack}${ack === "auto" ? "" : `, ${unread}${limit} unacknowledged`} (id ${id || "none"})`);
  });
}

// -- sending -------------------------------------------------------------------------------------------------------

// Headers are written as in STOMP 1.2: a line break in a value is \n, a colon in a name \c.
const ESCAPES = { "\\": "\\\\", "\n": "\\n", "\r": "\\r" };
const MEANINGS = { "\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\c": ":" };
const escaped = (text) => text.replace(/[\\\n\r]/g, (character) => ESCAPES[character]);
const meant = (text) => text.replace(/\\[\\nrc]/g, (pair) => MEANINGS[pair]);

function readHeaders(text) {
  return text.split("\n").filter((line) => line.trim()).map((line) => {
    const colon = line.indexOf(":");
    if (colon < 1) throw new Error(`"${line}" is not a header. Write name: value.`);
    return [meant(line.slice(0, colon).trim()), meant(line.slice(colon + 1).trim())];
  });
}

function edit(message) {
  $("send-destination").value = message.destination;
  $("send-type").value = "";
  const headers = message.headers.filter(([name]) => name !== "content-length");
  $("send-headers").value = headers.map(([name, value]) => `${escaped(name).replaceAll(":", "\\c")}: ${escaped(value)}`).join("\n");
  $("send-body").value = message.raw;
  hintBody();
  $("send").scrollIntoView();
  $("send-body").focus({ preventScroll: true });
}

async function submitMessage(event) {
  event.preventDefault();
  let headers;
  try {
    headers = readHeaders($("send-headers").value);
  } catch (error) {
    $("send-headers").setAttribute("aria-invalid", "true");
    $("send-headers").focus();
    return notice(error.message, "error");
  }
  $("send-headers").removeAttribute("aria-invalid");
  const type = $("send-type").value;
  if (type && !headers.some(([name]) => name === "content-type")) headers.unshift(["content-type", type]);
  await act("send", { destination: $("send-destination").value, headers, body: $("send-body").value });
}

function hintBody() {
  let hint = "";
  if ($("send-type").value === "application/json") {
    try {
      JSON.parse($("send-body").value);
    } catch (error) {
      hint = `This is not JSON, but can be sent: ${error.message}`;
    }
  }
  write($("send-hint"), hint);
}

// -- faults --------------------------------------------------------------------------------------------------------

/** Show the faults that the broker offers. They are the same as long as the broker runs. */
function offerFaults({ faults, commands }) {
  if ($("fault-on").children.length) return;
  $("fault-on").append(
    ...commands.map((command) => make("option", { value: command }, command)),
    make("option", { value: "" }, "any frame"),
  );
  for (const fault of faults) $(`choices-${fault.group}`).append(faultChoice(fault));
}

function faultChoice(fault) {
  const id = `fault-${fault.name}`;
  const inputs = fault.fields.map(([name, label, value]) => {
    const number = typeof value === "number";
    const kind = number ? { type: "number", min: "0", max: "3600", step: "any" } : { type: "text", maxLength: 1000 };
    const input = make("input", { ...kind, value: String(value), required: number });
    return { name, number, input, label: make("label", {}, label, input) };
  });
  const start = async () => {
    if (!inputs.every(({ input }) => input.reportValidity())) return;
    const given = { name: fault.name };
    for (const { name, number, input } of inputs) given[name] = number ? Number(input.value) : input.value;
    if (fault.group !== "now") given.times = Number($("fault-times").value) || null;
    if (fault.group === "frame") given.on = $("fault-on").value || null;
    await act("fault", given);
  };
  return make(
    "li",
    {},
    make("button", { type: "button", id, "aria-describedby": `${id}-effect`, onclick: start }, fault.title),
    ...inputs.map(({ label }) => label),
    make("span", { className: "hint", id: `${id}-effect` }, fault.effect),
  );
}

function showFaults(state) {
  const lasting = [];
  if (!state.running) lasting.push({ number: "stopped", text: "The broker is stopped" });
  else if (!state.listening) lasting.push({ number: "deaf", text: "It does not listen", undo: "listen_again" });
  if (state.frozen) lasting.push({ number: "frozen", text: "All connections are frozen", undo: "thaw" });
  if (state.idle_timeout !== null) lasting.push({ number: "idle", text: `Idle connections are closed after ${state.idle_timeout} s` });
  const waiting = state.faults.map((fault) => {
    const often = fault.left === null ? "every time" : `${fault.left} left`;
    return { ...fault, text: `${fault.title} (${fault.on ?? "any frame"}, ${often}, happened ${plural(fault.fired, "time")})` };
  });
  const all = [...lasting, ...waiting];
  $("active-faults").hidden = all.length === 0;
  sync($("active-list"), all, (each) => each.number, activeRow, (element, each) => write(element.firstElementChild, each.text));
}

function activeRow(each) {
  const cancel = () => (each.undo ? act("fault", { name: each.undo }) : act("cancel", { number: each.number }));
  const button = make("button", { type: "button", onclick: cancel, "aria-label": `Switch off: ${each.text}` }, "Switch off");
  return make("li", {}, make("span"), each.undo || each.title ? button : "");
}

// -- what the user does --------------------------------------------------------------------------------------------

function pause() {
  shown.paused = !shown.paused;
  $("pause").setAttribute("aria-pressed", shown.paused);
  write($("pause"), shown.paused ? "Go on" : "Pause");
  if (!shown.paused) shown.waiting.splice(0).forEach(addMessage);
  showLive();
}

let forgetTimer = 0;
async function forget() {
  const button = $("forget");
  const sure = button.dataset.sure;
  clearTimeout(forgetTimer);
  delete button.dataset.sure;
  write(button, "Drop all");
  if (sure) return act("forget", {});
  button.dataset.sure = "yes";
  write(button, "Drop all messages of the broker?");
  forgetTimer = setTimeout(() => { delete button.dataset.sure; write(button, "Drop all"); }, 5000);
}

let searchTimer = 0;
$("search-text").addEventListener("input", () => {
  clearTimeout(searchTimer);
  searchTimer = setTimeout(connect, 200);
});
$("search").addEventListener("submit", (event) => { event.preventDefault(); connect(); });
$("filter-off").addEventListener("click", () => { choose(shown.destination); $("search-text").focus(); });
$("pause").addEventListener("click", pause);
$("forget").addEventListener("click", forget);
$("send-form").addEventListener("submit", submitMessage);
$("send-body").addEventListener("input", hintBody);
$("send-type").addEventListener("change", hintBody);
$("clear-faults").addEventListener("click", () => act("clear-faults", {}));
$("notice-close").addEventListener("click", closeNotice);
// A browser opens only a few connections to one server, so a page that is not seen gives its own back.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) shown.source?.close();
  else if (shown.source?.readyState === EventSource.CLOSED) connect(true);
});
connect();
