// Many nodes of the reference, each a process of its own; they end when this one does, because their input ends then.
'use strict';

const {spawn} = require('node:child_process');
const path = require('node:path');
const readline = require('node:readline');

const {answerCommands, options, say} = require('./commands.js');

const nodes = [];

for (let index = 0; index < options.count; index += 1) {
  const child = spawn(process.execPath, [path.join(__dirname, 'node.js'), '{}'], {stdio: ['pipe', 'pipe', 'inherit']});
  child.on('exit', (status) => {
    if (nodes.length < options.count) {
      say({error: `a node ended with status ${status}`});
      process.exit(1);
    }
  });
  readline.createInterface({input: child.stdout}).once('line', (line) => {
    nodes.push(JSON.parse(line));
    if (nodes.length === options.count) {
      answerCommands({nodes}, () => say({error: 'a fleet takes no commands'}));
    }
  });
}
