// CPython in WebAssembly, as in a browser, run by node. The folder that is given is its own.
//     pyodide.js FOLDER PROGRAM ARGUMENTS…
//     pyodide.js FOLDER deepest    how long a chain of nodes can be freed there
const {loadPyodide} = require('pyodide');

const [folder, program, ...args] = process.argv.slice(2);

async function run(code) {
    const python = await loadPyodide();
    python.mountNodeFS('/folder', folder);
    python.runPython(`import os, runpy, sys
os.chdir('/folder')
sys.path[:0] = ['.', 'test']
${code}`);
}

const free = n => run(`from micrograd import Value
x = Value(1.0)
for _ in range(${n}):
    x = x + 1.0
x.backward()
del x`);

async function deepest() {
    let n = 1000;
    await free(n);
    console.error = () => {};  // what Pyodide says when the stack is full
    while (n < 1e6 && await free(2 * n).then(() => true, () => false)) n *= 2;
    console.log(`Pyodide frees a chain of ${n} nodes${n < 1e6 ? `, and not one of ${2 * n}` : ''}`);
}

(program === 'deepest' ? deepest() : run(`sys.argv = ${JSON.stringify([program, ...args])}
runpy.run_path(sys.argv[0], run_name='__main__')`)).catch(error => {
    console.error(error.message);
    process.exit(1);
});
