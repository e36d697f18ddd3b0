// A node of the reference that makes echo calls: see load.py, which this file is for JavaScript.
'use strict';

const {answerCommands, cpuSeconds, now, options, startNode} = require('./commands.js');

const PAYLOAD = 'trionet'.repeat(14) + '!!';

startNode((distribution) => {
  const remote = {node: {ip: options.ip, port: options.port}, service: 'echo', method: 'plain'};

  function load(command, reply) {
    const begun = now();
    const end = begun + command.seconds;
    const cpu = cpuSeconds();
    let calls = 0;
    let running = command.in_flight;
    let failure = null;

    function finish() {
      running -= 1;
      if (running === 0) {
        reply(failure ? {error: String(failure)} : {calls, seconds: now() - begun, cpu_s: cpuSeconds() - cpu});
      }
    }

    function next() {
      if (failure || now() >= end) {
        finish();
        return;
      }
      distribution.local.comm.send([PAYLOAD], remote, (error, value) => {
        if (error || value !== PAYLOAD) {
          failure = error || new Error('the echo is wrong');
        } else {
          calls += 1;
        }
        next();
      });
    }

    for (let index = 0; index < command.in_flight; index += 1) next();
  }

  answerCommands({}, load);
});
