// Times networks that export_onnx.py wrote, in ONNX Runtime, after comparing its output with PyTorch's.
//
//   node onnxruntime_peer.js --models FOLDER [--threads N] [--repetitions N] NAME...       for instance: ... unet.64 unet.1
//
// The package is looked for in $EASY_DIFFUSION_PEERS/node_modules. One line of JSON each: {"name","ms","version"}.
'use strict';
const fs = require('fs');
const path = require('path');
const { createRequire } = require('module');

const options = { models: '', threads: 2, repetitions: 15 };
const names = [];
for (let i = 2; i < process.argv.length; ++i) {
  const argument = process.argv[i];
  if (!argument.startsWith('--')) names.push(argument);
  else if (argument.slice(2) in options) options[argument.slice(2)] = process.argv[++i];
  else {
    console.error(`onnxruntime_peer.js: unknown option ${argument}`);
    process.exit(2);
  }
}
const folder = process.env.EASY_DIFFUSION_PEERS || '.';
const ort = createRequire(path.join(path.resolve(folder), 'package.json'))('onnxruntime-node');

function read(entry) {
  const bytes = fs.readFileSync(path.join(options.models, entry.file));
  const memory = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  return entry.type === 'int64' ? new BigInt64Array(memory) : new Float32Array(memory);
}

function compare(name, got, want) {
  let error = 0;
  let size = 0;
  for (let i = 0; i < want.length; ++i) {
    error = Math.max(error, Math.abs(got[i] - want[i]));
    size = Math.max(size, Math.abs(want[i]));
    if (!(Math.abs(got[i] - want[i]) < Infinity)) error = Infinity;  // NaN
  }
  if (got.length !== want.length || !(error <= 1e-3 * size))
    throw new Error(`${name}: differs from PyTorch by ${error}, of values up to ${size}`);
}

async function main() {
  for (const name of names) {
    const description = JSON.parse(fs.readFileSync(path.join(options.models, `${name}.json`)));
    const session = await ort.InferenceSession.create(path.join(options.models, `${name}.onnx`), {
      intraOpNumThreads: Number(options.threads),
      interOpNumThreads: 1,
      executionMode: 'sequential',
      graphOptimizationLevel: 'all',
    });
    const feeds = {};
    for (const entry of description.inputs) feeds[entry.name] = new ort.Tensor(entry.type, read(entry), entry.dims);
    compare(name, (await session.run(feeds)).output.data, read(description.output));
    await session.run(feeds);
    const times = [];
    for (let spent = 0; times.length < Number(options.repetitions) || spent < 100; spent += times[times.length - 1]) {
      const start = process.hrtime.bigint();
      await session.run(feeds);
      times.push(Number(process.hrtime.bigint() - start) * 1e-6);
    }
    times.sort((a, b) => a - b);
    const version = ort.env && ort.env.versions ? ort.env.versions.node || ort.env.versions.common : '';
    console.log(JSON.stringify({ name: `${name}.forward`, ms: times[times.length >> 1], version }));
  }
}

main().catch((error) => {
  console.error(`onnxruntime_peer.js: ${error.message}`);
  process.exit(1);
});
