// imapflow does what a mail program does, against the server named in the environment, and prints what it saw as JSON.
//
// - Two connections of one account: what one changes, the other is told while it idles (RFC 2177) or catches up with
//   by QRESYNC (RFC 7162).
// - Every wait is for an event; a whole run has the time limit of the test that started it.

import { once } from "node:events";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const { ImapFlow } = createRequire(`${process.cwd()}/`)("imapflow");
const { IMAP_PORT, IMAP_USER, IMAP_PASSWORD, IMAP_CA, IMAP_OPTIONS } = process.env;

function open(more = {}) {
  return new ImapFlow({
    host: "localhost",
    port: Number(IMAP_PORT),
    secure: true,
    auth: { user: IMAP_USER, pass: IMAP_PASSWORD },
    tls: { ca: readFileSync(IMAP_CA) },
    logger: false,
    qresync: true,
    ...JSON.parse(IMAP_OPTIONS),
    ...more,
  });
}

function letter(subject, text = "Grüße, 你好") {
  const head = ["From: x@example.org", `Subject: ${subject}`, `Message-ID: <${subject}@test>`, "MIME-Version: 1.0"];
  const kind = ["Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"];
  return Buffer.from([...head, ...kind, "", text, ".", "..two dots", ""].join("\r\n"));
}

async function all(messages) {
  const found = [];
  for await (const message of messages) {
    found.push(message);
  }
  return found;
}

const seen = {};
const client = open();
await client.connect();
seen.enabled = [...client.enabled].sort();
seen.folders = Object.fromEntries((await client.list()).map((folder) => [folder.path, folder.specialUse ?? ""]));
const quota = await client.getQuota("INBOX");
seen.quota = quota.storage.limit > 0;

await client.mailboxCreate(["Projects", "Grüße"]);
for (const subject of ["one", "two", "three", "four"]) {
  const answer = await client.append("Projects/Grüße", letter(subject), ["$Work"], new Date("2026-11-22T10:00:00Z"));
  seen.lastUid = answer.uid;
}
const opened = await client.mailboxOpen("Projects/Grüße");
seen.exists = opened.exists;
const remembered = { changedSince: opened.highestModseq, uidValidity: opened.uidValidity };

const query = { uid: true, flags: true, envelope: true, bodyStructure: true, source: true, internalDate: true, size: true };
const [first] = await all(client.fetch("1", { ...query, modseq: true, threadId: true }));
seen.first = {
  subject: first.envelope.subject,
  type: first.bodyStructure.type,
  flags: [...first.flags].filter((flag) => flag !== "\\Recent"),
  date: new Date(first.internalDate).toISOString(),
  whole: first.source.equals(letter("one")),
  size: first.size === letter("one").length,
  objects: Boolean(first.emailId && first.threadId),
};
const { content } = await client.download("1", "1");
seen.downloaded = (await all(content)).map(String).join("").startsWith("Grüße, 你好");

await client.messageFlagsAdd({ uid: "2" }, ["\\Flagged", "\\Seen"], { uid: true });
await client.messageFlagsRemove({ uid: "2" }, ["$Work"], { uid: true });
seen.flagged = await client.search({ flagged: true }, { uid: true });
seen.bodies = await client.search({ body: "你好", subject: "three" }, { uid: true });
seen.orred = await client.search({ or: [{ subject: "one" }, { header: { "message-id": "<four@test>" } }] }, { uid: true });
const moved = await client.messageMove("3", "Archive", { uid: true });
seen.moved = [...moved.uidMap.keys()];
await client.messageDelete("1", { uid: true });
seen.left = await client.search({ all: true }, { uid: true });
await client.logout();

// What was remembered before the changes, caught up with by a new connection.
const late = open({ disableAutoIdle: true });
const vanished = [];
const changed = [];
late.on("expunge", (event) => vanished.push(event.uid));
late.on("flags", (event) => changed.push(event.uid));
await late.connect();
await late.mailboxOpen("Projects/Grüße", remembered);
seen.vanished = [...vanished].sort();
seen.changed = [...changed];
const since = await all(late.fetch("1:*", { uid: true, flags: true }, { changedSince: remembered.changedSince }));
seen.since = since.map((message) => message.uid);

// One idles, the other works.
const other = open({ disableAutoIdle: true });
await other.connect();
await other.mailboxOpen("Projects/Grüße");
const idling = late.idle();
const [arrival] = await Promise.all([once(late, "exists"), other.append("Projects/Grüße", letter("five"), ["\\Seen"])]);
seen.arrived = arrival[0].count;
const [flags] = await Promise.all([once(late, "flags"), other.messageFlagsAdd("4", ["\\Answered"], { uid: true })]);
seen.told = [...flags[0].flags].filter((flag) => flag !== "\\Recent").sort();
const [gone] = await Promise.all([once(late, "expunge"), other.messageDelete("2", { uid: true })]);
seen.gone = gone[0].uid;
await late.noop();
await idling;
await late.logout();
await other.logout();
console.log(JSON.stringify(seen));
