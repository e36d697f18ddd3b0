// A node of the reference that spawns many, each answering a call. What it spawns is detached: the runner ends it, and
// so does this process when it exits, as it does when the runner has been killed.
'use strict';

const fs = require('node:fs');

const {answerCommands, now, options, say} = require('./commands.js');

const {count, port} = options;
const distribution = require('@brown-ds/distribution')({ip: '127.0.0.1', port});

const MARK = `TRIONET_BENCHMARK=${process.env.TRIONET_BENCHMARK}`; // see marked.py

function marked(pid) {
  try {
    return fs.readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(MARK);
  } catch {
    return false; // it has ended since
  }
}

// One that is just starting a program has no environment, so none may be seen several times; it can't take for ever.
process.on('exit', () => {
  if (!process.env.TRIONET_BENCHMARK) return;
  const end = now() + 5;
  for (let timesNone = 0; timesNone < 3 && now() < end; ) {
    const pids = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid && marked(name));
    timesNone = pids.length ? 0 : timesNone + 1;
    for (const pid of pids) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // it has ended since
      }
    }
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  }
});

function spawnAll(command, reply) {
  const begun = now();
  const nodes = {};
  let ready = 0;
  const failed = (what, error) => reply({error: `${what}: ${error}`});

  function callAll() {
    distribution.local.groups.put({gid: 'children'}, nodes, (error) => {
      if (error) return failed('groups.put', error);
      distribution.children.status.get('port', (errors, values) => {
        const ports = Object.values(values || {}).map(Number).sort((a, b) => a - b);
        if (ports.length !== count || ports.some((found, index) => found !== port + 1 + index)) {
          return failed('status.get', JSON.stringify(errors) + JSON.stringify(values));
        }
        reply({seconds: now() - begun});
      });
    });
  }

  for (let index = 1; index <= count; index += 1) {
    // Of spawns in progress, it is the last one's callback that is called for all: so only what is passed tells which.
    distribution.local.status.spawn({ip: '127.0.0.1', port: port + index}, (error, found) => {
      if (error) return failed('status.spawn', error);
      const node = {ip: found.ip, port: found.port};
      nodes[distribution.util.id.getSID(node)] = node;
      ready += 1;
      if (ready === count) callAll();
    });
  }
}

distribution.node.start((error) => {
  if (error) say({error: String(error)});
  else answerCommands({}, spawnAll);
});
