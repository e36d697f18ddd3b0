// The worker's side of the conversation with the runner: see commands.py, which this file is for JavaScript.
'use strict';

const readline = require('node:readline');

const write = process.stdout.write.bind(process.stdout);
const say = (answer) => write(JSON.stringify(answer) + '\n');
console.log = console.error; // what the library prints is not an answer

/** What the runner wants to be known from the begin. */
const options = JSON.parse(process.argv.pop());

// Whatever this process is doing: when the runner ends, so does this.
const lines = readline.createInterface({input: process.stdin});
lines.on('close', () => process.exit(0));

/** Say `ready`, then answer each command with what `answer(command, reply)` replies. */
function answerCommands(ready, answer) {
  say(ready);
  lines.on('line', (line) => {
    const command = JSON.parse(line);
    if (command.do === 'cpu') {
      say({cpu_s: cpuSeconds()});
    } else {
      answer(command, say);
    }
  });
}

function cpuSeconds() {
  const {user, system} = process.cpuUsage();
  return (user + system) / 1e6;
}

const now = () => Number(process.hrtime.bigint()) / 1e9;

/** Start a node on a free port; call `started(distribution, port)`. */
function startNode(started) {
  const distribution = require('@brown-ds/distribution')({ip: '127.0.0.1', port: 0});
  const service = {plain: (value, reply) => reply(null, value)};
  const heard = [];
  const tally = {
    note: (reply) => reply(null, heard.push(now())),
    heard: (reply) => reply(null, heard.splice(0)),
  };
  distribution.node.start(() => {
    distribution.local.routes.put(service, 'echo', (error) => {
      if (error) throw error;
      distribution.local.routes.put(tally, 'tally', (error) => {
        if (error) throw error;
        const {port} = distribution.node.server.address();
        distribution.node.config.port = port; // gossip calls itself there
        started(distribution, port);
      });
    });
  });
}

module.exports = {answerCommands, cpuSeconds, now, options, say, startNode};
