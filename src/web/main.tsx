import { render } from "preact"
import { App } from "./components/App.js"
import { connectWhileVisible } from "./state/Connection.js"

const root = document.getElementById("app")
if (root === null) throw new Error("index.html has no #app")
render(<App />, root)
connectWhileVisible()
